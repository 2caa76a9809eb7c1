"""The log-in of the admin: wrong passwords are counted."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from presence import logins
from presence.attempts import TooMany


class GuardedLogin(AdminAuthenticationForm):
    """The form of the admin's log-in: wrong passwords count as those of the API do."""

    def clean(self) -> dict[str, Any]:
        """Look at the password, unless there were too many wrong ones."""
        assert self.request is not None
        username = self.cleaned_data.get("username", "")
        address = self.request.META.get("REMOTE_ADDR", "")
        try:
            with logins.guess(username=username, address=address) as attempt:
                try:
                    return super().clean()
                except ValidationError:
                    attempt.wrong()
                    raise
        except TooMany as error:
            raise ValidationError(str(error)) from None


admin.site.login_form = GuardedLogin
