"""What pages of the admin have in common, those of other apps too: they say what the database refuses, with its own
hint instead of an error page, and what stays though it was chosen to go.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db import DatabaseError, DataError, IntegrityError, OperationalError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from psycopg.errors import DeadlockDetected, LockNotAvailable

from presence import database

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:  # Django's own class takes no parameters at run time
    ModelAdmin = admin.ModelAdmin


LOCKED = "Nothing was changed: somebody else has locked what this needs. Try again."


class SaysWhatIsRefused(ModelAdmin):
    """Shows what the database refused, with the hint, and stays on the page. Waits for a lock for a moment only."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Add or change one row."""
        return self._attempt(request, database.brief()(super().changeform_view), *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Delete one row."""
        return self._attempt(request, database.brief()(super().delete_view), *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """List rows and run actions on them."""
        return self._attempt(request, super().changelist_view, *args, **kwargs)

    def _attempt(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except (IntegrityError, DataError) as refusal:
            said = describe_refusal(refusal)
        except OperationalError as error:
            if not isinstance(error.__cause__, (LockNotAvailable, DeadlockDetected)):
                raise
            said = LOCKED
        self.message_user(request, said, messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())


class SaysWhatStays(SaysWhatIsRefused):
    """`Delete selected` goes without the rows that can't be deleted, and says why they stay and what can be done."""

    stays = ""
    actions = ("delete_selected",)

    @admin.action(description="Delete selected %(verbose_name_plural)s", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> TemplateResponse | None:
        """Django's own action, with what may go."""
        kept = self._kept(list(queryset), request)
        if kept:
            self.message_user(request, f"{len(kept)} left out: {self.stays}", messages.WARNING)
        rest = queryset.exclude(pk__in=kept)
        with database.brief():
            return delete_selected(self, request, rest) if rest.exists() else None

    def _kept(self, rows: list[Any], request: HttpRequest) -> list[Any]:
        """The keys of those that can't be deleted. Many are asked about at once, and halved only where some stay."""
        if not rows or not self.get_deleted_objects(rows, request)[3]:
            return []
        if len(rows) == 1:
            return [rows[0].pk]
        half = len(rows) // 2
        return self._kept(rows[:half], request) + self._kept(rows[half:], request)


class ReadOnly(ModelAdmin):
    """Rows that only the servers write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody deletes."""
        return False


def describe_refusal(refusal: DatabaseError) -> str:
    """The database's own words, with its hint."""
    diagnosis = getattr(refusal.__cause__, "diag", None)
    lines = (getattr(diagnosis, name, None) for name in ("message_primary", "message_hint"))
    return " ".join(line for line in lines if line) or str(refusal)
