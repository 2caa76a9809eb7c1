"""Messages: sent, changed and removed through the journal, paged back by position.

A write over REST is the write of the socket: same journal, same `client_id`, same refusals.
Changes since a cursor are the socket's affair (`sync`).
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models import F, QuerySet
from ninja import Router, Status
from pydantic import Field

from messaging import engine
from messaging.api.access import readable, stay_in
from messaging.api.auth import DeviceRequest
from messaging.api.refusals import REFUSED, RefusalOut
from messaging.api.values import (
    PAGE,
    AttachmentOut,
    Given,
    Key,
    Limit,
    Shown,
    known_milliseconds,
    milliseconds,
)
from messaging.models import Membership, Message
from messaging.protocol.content import check_body
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import MAX_ATTACHMENTS, MAX_BODY_BYTES, Delete, Edit, Send
from messaging.protocol.server.actions import Write
from presence.database import let_go

router = Router(tags=["messages"])

# Of texts and files' names in one page: a thousand of ordinary length. The message that passes it is the last. Two hundred
# of the longest were 13 MiB, several times in memory, for as long as their reader took.
PAGE_BYTES = 262_144
FAR = 2**62  # beyond every position
FIT = """
SELECT coalesce(min(position) FILTER (WHERE above < %s), 0), count(*) FILTER (WHERE above >= %s)
  FROM (SELECT position, sum(bytes) OVER (ORDER BY position DESC) - bytes AS above
          FROM (SELECT position, octet_length(body) + coalesce(octet_length(attachments::text), 0) AS bytes
                  FROM messaging_message WHERE conversation_id = %s AND position < %s AND seq <= %s
                 ORDER BY position DESC LIMIT %s) newest) summed
"""

Version = Annotated[int, Field(ge=1, le=2**31 - 1, description="The version that you saw.")]
Body = Annotated[str, Field(description=f"At most {MAX_BODY_BYTES} bytes of UTF-8.")]


class MessageIn(Given):
    client_id: Key = Field(description="Made once per message: a repeat with it changes nothing.")
    body: Body
    kind: Literal["text", "data"] = Field("text", description="The body of `data` is a JSON text.")
    reply_to: UUID | None = None
    attachments: list[UUID] = Field(
        [], max_length=MAX_ATTACHMENTS, description="Your uploads that no message has yet."
    )


class MessageChange(Given):
    client_id: Key
    body: Body
    base_version: Annotated[Version, Field(strict=True)]


class StoredOut(Shown):
    """A committed write, as `ok` tells it on the socket."""

    client_id: str
    message: str
    seq: int
    position: int
    version: int
    created: int


class MessageOut(Shown):
    """A message in its newest state, as `events` tell it on the socket; absent values are left out."""

    id: str
    seq: int
    position: int
    kind: str
    body: str
    version: int
    created: int
    device: str | None = None
    user: str | None = None
    client_id: str | None = None
    reply_to: str | None = None
    edited: int | None = None
    deleted: int | None = None
    attachments: list[AttachmentOut] | None = None


class PageOut(Shown):
    messages: list[MessageOut] = Field(
        description="Newest first; fewer than asked if they are long."
    )
    before: int | None = Field(None, description="Ask with it for older ones; absent at the end.")


@router.get(
    "/conversations/{conversation}/messages",
    response={200: PageOut, REFUSED: RefusalOut},
    exclude_none=True,
)
def list_messages(
    request: DeviceRequest,
    conversation: UUID,
    before: Annotated[int, Field(ge=1, le=FAR)] | None = None,
    limit: Limit = PAGE,
) -> PageOut:
    """The messages created before a position, newest first; without `before` the newest of all."""
    stay = stay_in(conversation, request)
    before = FAR if before is None else before
    first, too_many = _fitting(stay, before=before, limit=limit)
    found = Message.objects.filter(readable(stay), position__lt=before, position__gte=first)
    rows = list(_with_user(found).order_by("-position")[: limit + 1])
    page = rows[:limit]
    more = page and (too_many or len(rows) > limit)
    return PageOut(
        messages=[_shown(message) for message in page], before=page[-1].position if more else None
    )


@router.post(
    "/conversations/{conversation}/messages", response={(200, 201): StoredOut, REFUSED: RefusalOut}
)
async def send_message(
    request: DeviceRequest, conversation: UUID, given: MessageIn
) -> Status[StoredOut]:
    """Send a message. It is committed when this answers; a repeat gets the first result (200)."""
    check_body(given.body, given.kind)
    frame = Send(
        conversation=str(conversation),
        client_id=given.client_id,
        body=given.body,
        kind=given.kind,
        reply_to=str(given.reply_to) if given.reply_to else None,
        attachments=tuple(map(str, given.attachments)),
    )
    return await _write(frame, request)


@router.get(
    "/messages/{message}", response={200: MessageOut, REFUSED: RefusalOut}, exclude_none=True
)
def show_message(request: DeviceRequest, message: UUID) -> MessageOut:
    """A message in its newest state."""
    return _shown(message_for(request, message))


@router.patch("/messages/{message}", response={200: StoredOut, REFUSED: RefusalOut})
async def edit_message(
    request: DeviceRequest, message: UUID, given: MessageChange
) -> Status[StoredOut]:
    """Replace the body of your message if it is still at `base_version`; else `conflict`."""
    check_body(given.body)
    return await _write(Edit(message=str(message), **given.model_dump()), request)


@router.delete("/messages/{message}", response={200: StoredOut, REFUSED: RefusalOut})
async def delete_message(
    request: DeviceRequest,
    message: UUID,
    base_version: Version,
    client_id: Key,
) -> Status[StoredOut]:
    """Turn a message into a tombstone if it is still at `base_version`; else `conflict`."""
    frame = Delete(message=str(message), base_version=base_version, client_id=client_id)
    return await _write(frame, request)


def message_for(request: DeviceRequest, message: UUID) -> Any:
    """Return a message that the user may read, with its author as `user`. Raises Refused."""
    where = Message.objects.filter(pk=message).values_list("conversation_id", flat=True).first()
    if where is None:
        raise Refused(Refusal.NO_SUCH_MESSAGE)
    try:
        stay = stay_in(where, request)
    except Refused:
        raise Refused(Refusal.NO_SUCH_MESSAGE) from None
    found = _with_user(Message.objects.filter(readable(stay), pk=message)).first()
    if found is None:
        raise Refused(Refusal.NO_SUCH_MESSAGE)
    return found


async def _write(frame: Write, request: DeviceRequest) -> Status[StoredOut]:
    running = await engine.running()
    device, user = str(request.auth.pk), str(request.auth.user_id)
    if (refused := running.allowance(device, user).write()) is not None:
        raise refused
    # Or a locked conversation would keep it from others for a second and longer.
    await sync_to_async(let_go)()
    stored = await running.journal.submit(device, frame)
    shown = StoredOut(
        client_id=frame.client_id,
        message=stored.message,
        seq=stored.seq,
        position=stored.position,
        version=stored.version,
        created=stored.created,
    )
    created = isinstance(frame, Send) and not stored.repeated
    return Status(201 if created else 200, shown)


def _fitting(stay: Membership, *, before: int, limit: int) -> tuple[int, int]:
    """The position of the first message that fits into a page, and how many of one more than `limit` do not."""
    left = FAR if stay.left_seq is None else stay.left_seq
    asked = (PAGE_BYTES, PAGE_BYTES, stay.conversation_id, before, left, limit + 1)
    with connection.cursor() as cursor:
        cursor.execute(FIT, asked)
        first, too_many = cursor.fetchone()
    return first, too_many


def _with_user(messages: QuerySet[Message]) -> Any:
    """The messages with their author as `user`. Any: the type checker doesn't know annotations."""
    return messages.annotate(user=F("device__user")).defer("fingerprint")


def _shown(message: Any) -> MessageOut:
    return MessageOut(
        id=str(message.pk),
        seq=message.seq,
        position=message.position,
        kind=message.kind,
        body=message.body,
        version=message.version,
        created=milliseconds(message.created),
        device=str(message.device_id) if message.device_id else None,
        user=str(message.user) if message.user else None,
        client_id=message.client_id,
        reply_to=str(message.reply_to_id) if message.reply_to_id else None,
        edited=known_milliseconds(message.edited),
        deleted=known_milliseconds(message.deleted),
        attachments=message.attachments,
    )
