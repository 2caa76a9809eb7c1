"""Conversations, members, messages and receipts in the admin.

Everything here is an ordinary write: the database numbers it and tells the devices. So an edited
message is an edit, a deleted one a tombstone, and a removed member one who left. What the database
keeps for itself (numbers, times, system messages, receipts) is shown and cannot be edited.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import Model, TextField
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.text import Truncator

from messaging.models import Attachment, Conversation, Epoch, Inbox, Membership, Message, Receipt
from presence.admin import ReadOnly, SaysWhatIsRefused, SaysWhatStays

if TYPE_CHECKING:
    Inline = admin.TabularInline[Membership, Conversation]
else:  # Django's own class takes no parameters at run time
    Inline = admin.TabularInline

BODY_PREVIEW = 60  # characters of a body in a list


class AsWritten(forms.CharField):
    """A text with its blanks and ends of lines: a browser sends each of them as CRLF."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)

    def to_python(self, value: Any) -> Any:
        """The text as clients write it."""
        return _plain(super().to_python(value) or "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether more than the ends of lines are others."""
        return super().has_changed(_plain(initial or ""), data)


class ShowsWhatTheDatabaseKeeps(SaysWhatIsRefused):
    """`written` once, `editable` later; `shown` comes from the database, so only with a stored row."""

    written: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """The numbers and times of a new row are not known yet."""
        return (*self.written, *(self.shown if obj else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        """What cannot be changed any more."""
        return [name for name in self.get_fields(request, obj) if obj and name not in self.editable]


class KeepsWhatIsDeleted(ShowsWhatTheDatabaseKeeps, SaysWhatStays):
    """Deleting is a change of state: the pages that ask for confirmation say so."""

    remains = ""

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """What will happen to each row, and the rows that cannot be deleted."""
        rows = list(objs)
        fixed = [str(row) for row in rows if not self.has_delete_permission(request, row)]
        outcomes = [f"{row}: {self.remains}" for row in rows]
        return outcomes, {str(self.opts.verbose_name_plural): len(rows)}, set(), fixed


class MembershipInline(Inline):
    """The stays of a conversation's members."""

    model = Membership
    extra = 0
    fields = ("user", "role", "joined_seq", "left_seq")
    readonly_fields = fields
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A member is added on the page of memberships."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A stay is changed and ended on its own page."""
        return False


@admin.register(Conversation)
class ConversationAdmin(ShowsWhatTheDatabaseKeeps):
    """A new title is announced in the conversation."""

    list_display = ("__str__", "kind", "history", "last_seq", "created")
    list_filter = ("kind", "history", "created")
    search_fields = ("title", "id")
    search_help_text = "Title or id"
    written = ("kind", "title", "history")
    editable = ("title", "history")
    shown = ("id", "last_seq", "created")
    inlines = (MembershipInline,)

    def get_inlines(self, request: HttpRequest, obj: Model | None) -> Any:
        """A new conversation has no members yet."""
        return self.inlines if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only a conversation without a history can go."""
        empty = isinstance(obj, Conversation) and obj.last_seq == 0
        return empty and super().has_delete_permission(request, obj)


@admin.register(Membership)
class MembershipAdmin(KeepsWhatIsDeleted):
    """Members are added, change role and leave; each is announced in the conversation."""

    remains = "leaves; the stay remains as a record."
    stays = "stays that have ended stay as a record; to bring somebody back, add a new one."
    list_display = ("user", "conversation", "role", "joined_seq", "left_seq")
    list_filter = ("role", ("left_seq", admin.EmptyFieldListFilter))
    list_select_related = ("user", "conversation")
    search_fields = ("user__username", "conversation__title")
    autocomplete_fields = ("conversation", "user")
    written = ("conversation", "user", "role")
    editable = ("role",)
    shown = ("joined_seq", "left_seq")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A stay that has ended is frozen."""
        return super().has_change_permission(request, obj) and not _ended(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """A stay ends once."""
        return super().has_delete_permission(request, obj) and not _ended(obj)


@admin.register(Message)
class MessageAdmin(KeepsWhatIsDeleted):
    """An edit or deletion here reaches the devices like one from a device."""

    remains = "becomes a tombstone; its text is erased on every device."
    stays = "tombstones and system messages stay, for they tell every device what was; manage.py retain lets old ones go."
    list_display = (
        "preview",
        "conversation",
        "kind",
        "author",
        "position",
        "seq",
        "created",
        "state",
    )
    list_filter = ("kind", ("deleted", admin.EmptyFieldListFilter), "created")
    list_select_related = ("conversation", "device__user")
    search_fields = ("body", "conversation__title", "device__user__username")
    autocomplete_fields = ("conversation",)
    raw_id_fields = ("reply_to",)
    ordering = ("-id",)
    show_full_result_count = False  # counting a big table takes longer than showing a page of it
    formfield_overrides = {TextField: {"form_class": AsWritten}}
    written = ("conversation", "kind", "body", "reply_to")
    editable = ("body",)
    shown = ("device", "client_id", "seq", "position", "version", "created", "edited", "deleted")

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Leave out `system`: those are the database's own."""
        kwargs["choices"] = [c for c in Message.Kind.choices if c[0] != Message.Kind.SYSTEM]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: Message, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Write only what was edited, so that a deletion in between is not undone."""
        obj.save(update_fields=[*form.changed_data] if change else None)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """System messages and tombstones are fixed."""
        return super().has_change_permission(request, obj) and not _fixed(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """System messages and tombstones are fixed."""
        return super().has_delete_permission(request, obj) and not _fixed(obj)

    @admin.display(description="message")
    def preview(self, obj: Message) -> str:
        """The beginning of the body."""
        return Truncator(obj.body).chars(BODY_PREVIEW) or "(empty)"

    @admin.display(ordering="device__user__username")
    def author(self, obj: Message) -> str:
        """Who wrote it."""
        return str(obj.device.user) if obj.device else "(database)"

    @admin.display
    def state(self, obj: Message) -> str:
        """Whether it is as it was sent."""
        return "deleted" if obj.deleted else "edited" if obj.edited else ""


@admin.register(Attachment)
class AttachmentAdmin(ReadOnly):
    """Files of messages, and uploads that wait for one. The content is for those who may read the message."""

    list_display = ("name", "type", "bytes", "uploader", "message", "created")
    list_filter = ("type", ("message", admin.EmptyFieldListFilter), "created")
    list_select_related = ("device__user", "message")
    search_fields = ("name", "sha256", "device__user__username")
    ordering = ("-id",)
    show_full_result_count = False

    @admin.display(ordering="size", description="size")
    def bytes(self, obj: Attachment) -> str:
        """The size as people say it."""
        return filesizeformat(obj.size)

    @admin.display(ordering="device__user__username")
    def uploader(self, obj: Attachment) -> str:
        """Whose device uploaded it."""
        return f"{obj.device.user} ({obj.device})"


@admin.register(Receipt)
class ReceiptAdmin(ReadOnly):
    """How far each device has got."""

    list_display = ("device", "conversation", "delivered", "delivered_at", "read", "read_at")
    list_filter = ("changed",)
    list_select_related = ("device", "conversation")
    search_fields = ("device__name", "device__user__username", "conversation__title")


@admin.register(Inbox)
class InboxAdmin(ReadOnly):
    """How often a user's memberships and devices have changed."""

    list_display = ("user", "version")
    list_select_related = ("user",)
    search_fields = ("user__username",)


@admin.register(Epoch)
class EpochAdmin(ReadOnly):
    """The life of this database."""

    list_display = ("value",)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _fixed(row: Model | None) -> bool:
    return isinstance(row, Message) and (row.kind == Message.Kind.SYSTEM or row.deleted is not None)


def _ended(row: Model | None) -> bool:
    return isinstance(row, Membership) and row.left_seq is not None
