"""People to talk to: found by a part of their name, named by their id or their name."""

from collections.abc import Sequence
from typing import Annotated, Self
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest
from ninja import Router
from pydantic import Field, model_validator

from messaging.api.refusals import REFUSED, Declined, Problem, RefusalOut
from messaging.api.values import Given, Shown, Username
from presence.models import User

router = Router(tags=["users"])

FOUND = 20  # as many as a person looks through


class UserRef(Given):
    """A user by id or by name."""

    user: UUID | None = None
    username: Username | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> Self:
        """Refuse neither and both."""
        if (self.user is None) == (self.username is None):
            raise ValueError("give either user or username")
        return self


class UserOut(Shown):
    user: str
    username: str


class UsersOut(Shown):
    users: list[UserOut]


@router.get("/users", response={200: UsersOut, REFUSED: RefusalOut})
def search_users(
    request: HttpRequest, search: Annotated[Username, Field(min_length=1)]
) -> UsersOut:
    """The first 20 active users whose name contains the text, whatever its case."""
    found = User.objects.filter(is_active=True, username__icontains=search).order_by("username")
    return UsersOut(users=[shown(user) for user in found[:FOUND]])


def shown(user: User) -> UserOut:
    """The user as others see them."""
    return UserOut(user=str(user.pk), username=user.get_username())


def resolve(references: Sequence[UserRef]) -> list[User]:
    """Return the active users meant, in order. Raises Declined for the first that is not there."""
    ids = [reference.user for reference in references if reference.user]
    names = [reference.username for reference in references if reference.username]
    known: dict[UUID | str, User] = {}
    for user in User.objects.filter(Q(pk__in=ids) | Q(username__in=names), is_active=True):
        known |= {user.pk: user, user.username: user}
    wanted = [reference.user or reference.username or "" for reference in references]
    for missing in (one for one in wanted if one not in known):
        raise Declined(Problem.NO_SUCH_USER, missing)
    return [known[one] for one in wanted]
