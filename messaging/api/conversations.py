"""Conversations: listed, opened, retitled. Titles and members are plain writes; triggers tell the devices.

A direct conversation exists once per pair and never changes; a self conversation comes with the user.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from django.db.models import BigIntegerField, Max, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from ninja import Router, Status
from pydantic import Field, model_validator

from messaging.api.access import administered, stay_in, writing
from messaging.api.auth import DeviceRequest
from messaging.api.refusals import REFUSED, Declined, Problem, RefusalOut
from messaging.api.users import UserOut, UserRef, resolve, shown
from messaging.api.values import PAGE, Given, Key, Limit, Shown, Text, milliseconds
from messaging.conversations import ensure_direct, open_group, opened_as
from messaging.models import Conversation, Membership, Receipt
from messaging.protocol.errors import Refusal, Refused
from presence.models import User

router = Router(tags=["conversations"])

History = Literal["all", "since_joined"]
Role = Literal["member", "admin"]
Title = Annotated[Text, Field(max_length=200)]
INVITED = 1_000  # members named when a group is opened; more can be added one by one


class MemberIn(UserRef):
    role: Role = "member"


class ConversationIn(Given):
    client_id: Key | None = Field(
        None, description="Made once per group: a repeat with it opens no second one."
    )
    kind: Literal["direct", "group"] = "group"
    title: Title = ""
    history: History = Field("all", description="What new members may read.")
    members: list[MemberIn] = Field([], max_length=INVITED, description="Others than yourself.")

    @model_validator(mode="after")
    def pair(self) -> Self:
        """Refuse a direct conversation that is not of two people."""
        if self.kind == "direct" and (len(self.members) != 1 or self.title):
            raise ValueError("a direct conversation has one other member and no title")
        return self


class ConversationChange(Given):
    title: Title | None = None
    history: History | None = None


class ConversationOut(Shown):
    conversation: str
    kind: str
    title: str
    history: str
    last_seq: int
    created: int
    role: str
    joined_seq: int
    left_seq: int | None = Field(description="Where your stay ended; null while you are a member.")
    read: int = Field(description="How far you have read on any of your devices.")
    peer: UserOut | None = Field(description="The other one of a direct conversation.")


class ConversationsOut(Shown):
    conversations: list[ConversationOut]
    after: str | None = Field(description="Ask with it for the next page; null on the last.")


@router.get("/conversations", response={200: ConversationsOut, REFUSED: RefusalOut})
def list_conversations(
    request: DeviceRequest,
    after: UUID | None = None,
    limit: Limit = PAGE,
) -> ConversationsOut:
    """The conversations that you are in, by id, in pages."""
    stays = _stays(request).filter(left_seq=None).order_by("conversation")
    if after is not None:
        stays = stays.filter(conversation__gt=after)
    page = list(stays[: limit + 1])
    more = len(page) > limit
    return ConversationsOut(
        conversations=_shown(page[:limit]),
        after=str(page[limit - 1].conversation_id) if more else None,
    )


@router.post("/conversations", response={(200, 201): ConversationOut, REFUSED: RefusalOut})
def open_conversation(request: DeviceRequest, given: ConversationIn) -> Status[ConversationOut]:
    """Open a group (you are its admin), or the direct conversation with someone; 200 if it exists already."""
    with writing(request):
        conversation, created = _open(given, request)
    return Status(201 if created else 200, _one(conversation.pk, request))


@router.get("/conversations/{conversation}", response={200: ConversationOut, REFUSED: RefusalOut})
def show_conversation(request: DeviceRequest, conversation: UUID) -> ConversationOut:
    """A conversation that you are or were in; of one that went on without you, nothing of afterwards."""
    return _one(conversation, request)


@router.patch("/conversations/{conversation}", response={200: ConversationOut, REFUSED: RefusalOut})
def change_conversation(
    request: DeviceRequest, conversation: UUID, given: ConversationChange
) -> ConversationOut:
    """Change the title or the history rule of a group that you are an admin of."""
    changes = given.model_dump(exclude_none=True)
    with writing(request, conversation):
        administered(conversation, request)
        if changes:
            Conversation.objects.filter(pk=conversation).update(**changes)
    return _one(conversation, request)


def _open(given: ConversationIn, request: DeviceRequest) -> tuple[Conversation, bool]:
    if given.kind == "group":
        return _open_group(given, request)
    if not (others := _others(given, request)):
        raise Declined(Problem.INVALID_REQUEST, "you have a conversation with yourself already")
    return ensure_direct(request.auth.user, *others)


def _open_group(given: ConversationIn, request: DeviceRequest) -> tuple[Conversation, bool]:
    """The group, and whether it is new; a repeat gets what it asked for, whoever of the members has gone since."""
    key = None if given.client_id is None else opened_as(request.auth.pk, given.client_id)
    fingerprint = None if key is None else _fingerprint(given)
    group = None if key is None else Conversation.objects.filter(pk=key).first()
    created = False  # a process that was faster may have made it even so
    if group is None:
        roles = {request.auth.user: "admin"} | _others(given, request)
        values = {"title": given.title, "history": given.history, "fingerprint": fingerprint}
        group, created = open_group(roles, key=key, **values)
    if not created and bytes(group.fingerprint or b"") != fingerprint:
        raise Refused(Refusal.CLIENT_ID_REUSED)
    return group, created


def _others(given: ConversationIn, request: DeviceRequest) -> dict[User, str]:
    """The members that are named, besides oneself, and their roles. Raises Declined."""
    roles: list[str] = [member.role for member in given.members]
    named = dict(zip(resolve(given.members), roles, strict=True))
    named.pop(request.auth.user, None)
    return named


def _fingerprint(given: ConversationIn) -> bytes:
    """A digest of what was asked, to tell a repeat from another group under the same key."""
    asked = given.model_dump_json(exclude={"client_id"}, exclude_defaults=True)
    return hashlib.blake2b(asked.encode(), digest_size=16).digest()


def _one(conversation: UUID, request: DeviceRequest) -> ConversationOut:
    stay = _stays(request).get(pk=stay_in(conversation, request).pk)
    return _shown([stay])[0]


def _stays(request: DeviceRequest) -> QuerySet[Membership]:
    me = request.auth.user_id
    marks = Receipt.objects.filter(conversation=OuterRef("conversation"), device__user=me)
    furthest = marks.values("conversation").annotate(furthest=Max("read")).values("furthest")
    stays = Membership.objects.filter(user=me).select_related("conversation")
    return stays.annotate(read=Coalesce(Subquery(furthest), 0, output_field=BigIntegerField()))


def _shown(stays: Sequence[Any]) -> list[ConversationOut]:
    """The conversations of these stays, which are of one user and annotated with `read`."""
    direct = [s for s in stays if s.conversation.kind == Conversation.Kind.DIRECT]
    pairs = Membership.objects.filter(conversation__in=[s.conversation_id for s in direct])
    others = pairs.exclude(user__in=[s.user_id for s in direct[:1]]).select_related("user")
    peers = {other.conversation_id: shown(other.user) for other in others}
    return [
        ConversationOut(
            conversation=str(stay.conversation_id),
            kind=stay.conversation.kind,
            title=stay.conversation.title if _is_whole(stay) else "",
            history=stay.conversation.history,
            last_seq=stay.conversation.last_seq if stay.left_seq is None else stay.left_seq,
            created=milliseconds(stay.conversation.created),
            role=stay.role,
            joined_seq=stay.joined_seq,
            left_seq=stay.left_seq,
            read=stay.read,
            peer=peers.get(stay.conversation_id),
        )
        for stay in stays
    ]


def _is_whole(stay: Membership) -> bool:
    """Whether the stay has seen all that there is; a title may have been set by what it has not."""
    return stay.left_seq in (None, stay.conversation.last_seq)
