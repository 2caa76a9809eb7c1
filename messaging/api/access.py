"""Who may see and change what. Every read passes through a stay of the asking user.

A present member reads the conversation; a former one what stood when they left: a message that was
changed later is not theirs to see, since only its newest state exists. In a conversation with
`since_joined` history nothing older than the stay is shown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from messaging.api.auth import DeviceRequest
from messaging.api.lookups import Lookup
from messaging.api.refusals import Declined, Problem
from messaging.models import Conversation, Membership
from messaging.protocol.errors import Refusal, Refused
from presence import database
from presence.tokens import is_admitted

NEWEST_STAY = Lookup(
    Membership,
    "conversation",
    "r.conversation_id = %s AND r.user_id = %s ORDER BY r.left_seq DESC NULLS FIRST",
)
# By hand, since Django takes 0.7 ms to make this of `Exists`.
STILL_THERE = "EXISTS (SELECT FROM messaging_membership WHERE id = %s AND left_seq IS NULL)"


def stay_in(conversation: UUID, request: DeviceRequest) -> Membership:
    """Return the user's newest stay, present or past, with its conversation. Raises Refused."""
    stay = NEWEST_STAY.first(conversation, request.auth.user_id)
    if stay is None:
        raise Refused(Refusal.NO_SUCH_CONVERSATION)
    return stay


def present_in(conversation: UUID, request: DeviceRequest) -> Membership:
    """Return the stay of a present member. Raises Refused."""
    stay = stay_in(conversation, request)
    if stay.left_seq is not None:
        raise Refused(Refusal.NO_SUCH_CONVERSATION)
    return stay


def group_of(conversation: UUID, request: DeviceRequest) -> Membership:
    """Return the stay of a present member of a group. Raises Refused or Declined."""
    stay = present_in(conversation, request)
    if stay.conversation.kind != Conversation.Kind.GROUP:
        raise Declined(Problem.NOT_ALLOWED, "only groups have a title and change their members")
    return stay


def administered(conversation: UUID, request: DeviceRequest) -> Membership:
    """Return the stay of an admin of a group. Raises Refused or Declined."""
    stay = group_of(conversation, request)
    if stay.role != Membership.Role.ADMIN:
        raise Declined(Problem.NOT_ALLOWED, "it takes an admin of the group")
    return stay


def still(stay: Membership) -> Q:
    """The condition that a stay which was looked up lasts: asked together with what is shown, so that nothing of after it is."""
    return Q(RawSQL(STILL_THERE, [stay.pk], output_field=BooleanField()))  # noqa: S611 - a constant


def readable(stay: Membership) -> Q:
    """The condition on messages of the stay's conversation that its user may read."""
    seen = Q(conversation=stay.conversation_id)
    if stay.left_seq is not None:
        seen &= Q(seq__lte=stay.left_seq)
    else:  # it may have ended since it was looked up: this is asked together with the messages
        seen &= still(stay)
    if stay.conversation.history == Conversation.History.SINCE_JOINED:
        seen &= Q(position__gte=stay.joined_seq)
    return seen


@contextmanager
def writing(request: DeviceRequest, conversation: UUID | None = None) -> Iterator[None]:
    """A transaction; with a conversation, nobody else changes that one or its members meanwhile.

    So who may is judged inside, by what is true at the commit. It gives up (`busy`) rather than
    wait long for a lock. Raises Refused at its end if the device was revoked while it waited (G8).
    """
    with database.brief():
        if conversation is not None:
            Conversation.objects.select_for_update(no_key=True).filter(pk=conversation).first()
        yield
        if not is_admitted(request.auth):
            raise Refused(Refusal.REVOKED)
