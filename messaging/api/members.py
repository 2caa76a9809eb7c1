"""Members of groups. Each change is a plain write: the trigger numbers it, and the devices see it."""

from uuid import UUID

from ninja import Router, Status

from messaging.api.access import administered, group_of, present_in, still, writing
from messaging.api.auth import DeviceRequest
from messaging.api.conversations import MemberIn, Role
from messaging.api.refusals import REFUSED, Declined, Problem, RefusalOut
from messaging.api.users import resolve
from messaging.api.values import PAGE, Given, Limit, Shown
from messaging.models import Membership

router = Router(tags=["members"])


class RoleIn(Given):
    role: Role


class MemberOut(Shown):
    user: str
    username: str
    role: str
    joined_seq: int


class MembersOut(Shown):
    members: list[MemberOut]
    after: str | None


class LeftOut(Shown):
    user: str
    left_seq: int


@router.get(
    "/conversations/{conversation}/members", response={200: MembersOut, REFUSED: RefusalOut}
)
def list_members(
    request: DeviceRequest,
    conversation: UUID,
    after: UUID | None = None,
    limit: Limit = PAGE,
) -> MembersOut:
    """Who is in a conversation with you, by id, in pages."""
    mine = present_in(conversation, request)
    stays = Membership.objects.filter(still(mine), conversation=conversation, left_seq=None)
    if after is not None:
        stays = stays.filter(user__gt=after)
    page = list(stays.select_related("user").order_by("user")[: limit + 1])
    more = len(page) > limit
    return MembersOut(
        members=[_shown(stay) for stay in page[:limit]],
        after=str(page[limit - 1].user_id) if more else None,
    )


@router.post(
    "/conversations/{conversation}/members", response={(200, 201): MemberOut, REFUSED: RefusalOut}
)
def add_member(request: DeviceRequest, conversation: UUID, given: MemberIn) -> Status[MemberOut]:
    """Add someone to a group. Who is a member already stays as they are (200)."""
    with writing(request, conversation):
        administered(conversation, request)
        [user] = resolve([given])
        stay, created = Membership.objects.get_or_create(
            conversation_id=conversation, user=user, left_seq=None, defaults={"role": given.role}
        )
        stay.refresh_from_db()
    return Status(201 if created else 200, _shown(stay))


@router.patch(
    "/conversations/{conversation}/members/{user}", response={200: MemberOut, REFUSED: RefusalOut}
)
def change_member(
    request: DeviceRequest, conversation: UUID, user: UUID, given: RoleIn
) -> MemberOut:
    """Make a member of a group an admin, or an admin a member."""
    present = Membership.objects.filter(conversation=conversation, user=user, left_seq=None)
    with writing(request, conversation):
        administered(conversation, request)
        if not present.update(role=given.role):
            raise Declined(Problem.NO_SUCH_MEMBER)
        return _shown(present.select_related("user").get())


@router.delete(
    "/conversations/{conversation}/members/{user}", response={200: LeftOut, REFUSED: RefusalOut}
)
def remove_member(request: DeviceRequest, conversation: UUID, user: UUID) -> LeftOut:
    """Leave a group, or remove someone as its admin. Nothing after `left_seq` reaches them."""
    allowed = group_of if user == request.auth.user_id else administered
    with writing(request, conversation):
        allowed(conversation, request)
        present = Membership.objects.filter(conversation=conversation, user=user, left_seq=None)
        stay = present.first()
        if stay is None:
            raise Declined(Problem.NO_SUCH_MEMBER)
        present.update(left_seq=0)  # any number will do: the trigger puts the fence's there
    stay.refresh_from_db(fields=["left_seq"])
    return LeftOut(user=str(user), left_seq=stay.left_seq or 0)


def _shown(stay: Membership) -> MemberOut:
    return MemberOut(
        user=str(stay.user_id),
        username=stay.user.get_username(),
        role=stay.role,
        joined_seq=stay.joined_seq,
    )
