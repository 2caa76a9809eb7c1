"""Users and what they say of themselves."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from presence.admin.pages import ModelAdmin, SaysWhatStays
from presence.models import Status, User


@admin.register(User)
class PeopleAdmin(SaysWhatStays, UserAdmin):  # type: ignore[type-arg]
    """Users are deleted as long as they have left no trace; after that they are locked out, or erased."""

    stays = (
        "users with devices or conversations stay, for others read what they wrote. Untick `active` to lock one out,"
        " or erase one for good: manage.py erase_user USER."
    )

    def delete_view(
        self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Delete one user, or say why not."""
        user = self.get_object(request, unquote(object_id))
        if user is None or not self.get_deleted_objects([user], request)[3]:
            return super().delete_view(request, object_id, *args, **kwargs)
        self.message_user(request, f"Not deleted: {self.stays}", messages.ERROR)
        return HttpResponseRedirect(reverse("admin:presence_user_change", args=[object_id]))


@admin.register(Status)
class StatusAdmin(ModelAdmin):
    """What users say of themselves. A change is seen at once by everyone who watches."""

    list_display = ("user", "text", "text_until", "invisible", "changed")
    list_filter = ("invisible",)
    list_select_related = ("user",)
    search_fields = ("user__username", "text")
    autocomplete_fields = ("user",)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Model | None = None
    ) -> tuple[str, ...]:
        """It stays its user's."""
        return ("changed",) if obj is None else ("user", "changed")
