"""Users, what they say of themselves, devices, processes and sessions in the admin.

A device is revoked, not edited or deleted; processes and sessions are written by the servers alone,
which can be asked to end a session.
What the database refuses is shown with its own hint instead of an error page.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin
from django.core.exceptions import ValidationError
from django.db import DatabaseError, DataError, IntegrityError
from django.db.models import Count, Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from presence import logins, roster
from presence.attempts import TooMany
from presence.models import Connection, Device, LinkCode, Node, Status, User

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:  # Django's own class takes no parameters at run time
    ModelAdmin = admin.ModelAdmin


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


class SaysWhatIsRefused(ModelAdmin):
    """Shows what the database refused, with the hint, and stays on the page."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Add or change one row."""
        return self._attempt(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Delete one row."""
        return self._attempt(request, super().delete_view, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """List rows and run actions on them."""
        return self._attempt(request, super().changelist_view, *args, **kwargs)

    def _attempt(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except (IntegrityError, DataError) as refusal:
            self.message_user(request, describe_refusal(refusal), messages.ERROR)
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
        kept = [row.pk for row in queryset if self.get_deleted_objects([row], request)[3]]
        if kept:
            self.message_user(request, f"{len(kept)} left out: {self.stays}", messages.WARNING)
        rest = queryset.exclude(pk__in=kept)
        return delete_selected(self, request, rest) if rest.exists() else None


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


class RevokedFilter(admin.SimpleListFilter):
    """Devices that are revoked, or are not."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices."""
        return [("active", "active"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Device]) -> QuerySet[Device]:
        """The rows of the choice."""
        if self.value() is None:
            return queryset
        return queryset.filter(revoked__isnull=self.value() == "active")


def describe_refusal(refusal: DatabaseError) -> str:
    """The database's own words, with its hint."""
    diagnosis = getattr(refusal.__cause__, "diag", None)
    lines = (getattr(diagnosis, name, None) for name in ("message_primary", "message_hint"))
    return " ".join(line for line in lines if line) or str(refusal)


def revoke_device(device: UUID) -> None:
    """Revoke a device; returns when nothing more can reach it."""
    async_to_sync(roster.revoke)(str(device))


def _here() -> Subquery:
    """The state of the device's live sessions: `online` sorts after `away`."""
    sessions = Connection.objects.filter(device=OuterRef("pk"), node__lease__gt=Now())
    best = sessions.exclude(state=Connection.State.ENDING).order_by("-state")
    return Subquery(best.values("state")[:1])


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


@admin.register(Device)
class DeviceAdmin(SaysWhatIsRefused):
    """Devices can be renamed and revoked. They register themselves and are never deleted."""

    list_display = ("__str__", "user", "platform", "presence", "registered", "last_seen", "revoked")
    list_filter = (RevokedFilter, "platform")
    list_select_related = ("user",)
    search_fields = ("name", "installation", "user__username")
    search_help_text = "Name, installation or user name"
    fields = (
        "id",
        "user",
        "name",
        "platform",
        "installation",
        "registered",
        "last_seen",
        "revoked",
    )
    readonly_fields = tuple(field for field in fields if field != "name")
    actions = ("revoke",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Device]:
        """With the best state of each device's live sessions, by the database's clock."""
        devices: QuerySet[Device] = super().get_queryset(request)
        return devices.annotate(here=_here())

    @admin.display(ordering="here")
    def presence(self, device: Any) -> str:
        """How it is here now."""
        return "offline" if device.here is None else str(device.here)

    def save_model(self, request: HttpRequest, obj: Device, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Write the name alone: a token that is replaced meanwhile would come back to life."""
        obj.save(update_fields=["name"])

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A device registers itself: nobody else may know its token."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Its messages keep their author: revoke it instead."""
        return False

    @admin.action(description="Revoke: log out at once and for ever", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Device]) -> None:
        """Revoke the chosen devices; each is out when the page answers.

        Those too that are revoked: whoever did it may not have waited until nothing reached them.
        """
        chosen = dict(queryset.values_list("pk", "revoked"))
        try:
            for device in chosen:
                revoke_device(device)
        except psycopg.Error as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            said = f"Not all are revoked, or something may still reach them: {reason}. Try again."
            self.message_user(request, said, messages.ERROR)
            return
        count = sum(revoked is None for revoked in chosen.values())
        self.message_user(request, f"{count} revoked; nothing more reaches them.")


@admin.register(LinkCode)
class LinkCodeAdmin(ReadOnly):
    """Who vouched for which device, and which codes still wait. The codes themselves nobody knows."""

    list_display = ("issuer", "created", "expires", "used", "redeemed_by")
    list_filter = ("created", ("used", admin.EmptyFieldListFilter))
    list_select_related = ("issuer", "redeemed_by")
    search_fields = ("issuer__name", "redeemed_by__name", "issuer__user__username")
    search_help_text = "Name of a device or user name"
    fields = ("id", *list_display)
    readonly_fields = fields


@admin.register(Node)
class NodeAdmin(ReadOnly):
    """Server processes, whether their lease lasts, and how many sessions each holds."""

    list_display = ("name", "live", "sessions", "started", "lease")
    search_fields = ("name",)
    list_filter = ("started",)
    ordering = ("-lease",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        """Judged by the database's clock."""
        nodes: QuerySet[Node] = super().get_queryset(request)
        return nodes.annotate(is_live=Q(lease__gt=Now()), held=Count("connections"))

    @admin.display(boolean=True, ordering="is_live")
    def live(self, node: Any) -> bool:
        """Whether the lease lasts."""
        return bool(node.is_live)

    @admin.display(ordering="held")
    def sessions(self, node: Any) -> int:
        """How many there are."""
        return int(node.held)


@admin.register(Connection)
class ConnectionAdmin(ReadOnly):
    """Sessions, by process and user. They can be asked to end; the device may come back at once."""

    list_display = ("id", "user", "device", "node", "live", "state", "since")
    list_filter = ("state", "node")
    list_select_related = ("device__user", "node")
    search_fields = ("device__name", "device__user__username", "node__name")
    search_help_text = "Name of a device, a user or a process"
    actions = ("disconnect",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Connection]:
        """Judged by the database's clock."""
        sessions: QuerySet[Connection] = super().get_queryset(request)
        return sessions.annotate(is_live=Q(node__lease__gt=Now()))

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        """Whoever may change sessions may end them; nobody edits them."""
        return bool(request.user.has_perm("presence.change_connection"))

    @admin.display(ordering="device__user__username")
    def user(self, connection: Connection) -> User:
        """Whose it is."""
        return connection.device.user

    @admin.display(boolean=True, ordering="is_live")
    def live(self, connection: Any) -> bool:
        """Whether its process's lease lasts."""
        return bool(connection.is_live)

    @admin.action(
        description="Disconnect: end the session; the device may come back",
        permissions=["disconnect"],
    )
    def disconnect(self, request: HttpRequest, queryset: QuerySet[Connection]) -> None:
        """Ask the processes to end these sessions. Until they have, a revocation still waits for them."""
        asked = queryset.filter(node__lease__gt=Now()).exclude(state=Connection.State.ENDING)
        count = Connection.objects.filter(pk__in=list(asked.values_list("pk", flat=True))).update(
            state=Connection.State.ENDING
        )
        self.message_user(request, f"{count} asked to end; their devices may connect again.")


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
