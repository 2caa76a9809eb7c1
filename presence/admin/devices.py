"""Devices and the codes that let them in. A device is revoked, not edited or deleted."""

from typing import Any
from uuid import UUID

import psycopg
from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import HttpRequest
from psycopg.errors import QueryCanceled

from presence import database, roster
from presence.admin.pages import ReadOnly, SaysWhatIsRefused
from presence.models import Connection, Device, LinkCode


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


def revoke_device(device: UUID) -> None:
    """Revoke a device; returns when nothing more can reach it."""
    async_to_sync(roster.revoke)(str(device))


def _here() -> Subquery:
    """The state of the device's live sessions: `online` sorts after `away`."""
    sessions = Connection.objects.filter(device=OuterRef("pk"), node__lease__gt=Now())
    best = sessions.exclude(state=Connection.State.ENDING).order_by("-state")
    return Subquery(best.values("state")[:1])


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
        database.let_go()
        done: list[UUID] = []
        trouble: psycopg.Error | None = None
        for device in chosen:
            try:
                revoke_device(device)
                done.append(device)
            except QueryCanceled as error:  # this one is locked by somebody; the others go on
                trouble = error
            except psycopg.Error as error:
                trouble = error
                break
        if trouble is not None:
            left, reason = len(chosen) - len(done), str(trouble).partition("\n")[0].rstrip(".")
            said = f"{left} not revoked, or something may still reach them: {reason}. Try again."
            self.message_user(request, said, messages.ERROR)
        if done:
            count = sum(chosen[device] is None for device in done)
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
