"""Processes and sessions. They are written by the servers alone, which can be asked to end a session."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from presence.admin.pages import ReadOnly
from presence.models import Connection, Node, User


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
