"""Who is here at this moment, and what one says of oneself. Whoever wants to be told of changes opens a socket.

One is shown oneself, and whoever one shares a conversation with; others are left out.
"""

from typing import Self
from uuid import UUID

from ninja import P, QueryEx, Router
from pydantic import ConfigDict, Field, model_validator

from messaging.api.access import writing
from messaging.api.auth import DeviceRequest
from messaging.api.refusals import REFUSED, RefusalOut
from messaging.api.values import Given, Shown, Text
from messaging.models import Membership
from messaging.protocol.frames import MAX_STATUS, MAX_WATCHED
from presence.liveness import State, View, seen_by_others, seen_by_self
from presence.statuses import LAST_MS, Saying, say
from presence.who import who_is_here

router = Router(tags=["presence"])


class DevicePresenceOut(Shown):
    device: str
    state: State


class PresenceOut(Shown):
    user: str
    state: State
    text: str
    until: int | None = Field(description="When the text ends.")
    last_seen: int | None = Field(description="Of who is offline: when they were here last.")
    invisible: bool = Field(description="Told to the user's own devices only.")
    devices: list[DevicePresenceOut] | None = Field(description="The user's own devices only.")


class PresencesOut(Shown):
    users: list[PresenceOut]


class PresenceIn(Given):
    """What is left out stays as it is. `state` is a session's and said on its socket."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    text: Text | None = Field(None, max_length=MAX_STATUS)
    until: int | None = Field(
        None,
        strict=True,
        ge=0,
        le=LAST_MS,
        description="When the text ends; a text without it lasts.",
    )
    invisible: bool | None = Field(None, strict=True)

    @model_validator(mode="after")
    def something(self) -> Self:
        """Refuse nothing at all."""
        if (self.text, self.until, self.invisible) == (None, None, None):
            raise ValueError("give text, until or invisible")
        return self


Asked = QueryEx[list[UUID], P(min_length=1, max_length=MAX_WATCHED)]


@router.get("/presence", response={200: PresencesOut, REFUSED: RefusalOut})
def get_presence(request: DeviceRequest, user: Asked) -> PresencesOut:
    """How these users are here, those of them whom one may see."""
    me = request.auth.user_id
    shared = Membership.objects.filter(
        user__in=user,
        left_seq=None,
        conversation__memberships__user=me,
        conversation__memberships__left_seq=None,
    )
    seen = {*shared.values_list("user", flat=True), *({me} & set(user))}
    here = who_is_here(str(key) for key in seen)
    views = (
        seen_by_self(one) if one.user == str(me) else seen_by_others(one) for one in here.values()
    )
    return PresencesOut(users=[_shown(view, own=view.user == str(me)) for view in views])


@router.put("/presence", response={200: PresenceOut, REFUSED: RefusalOut})
def set_presence(request: DeviceRequest, given: PresenceIn) -> PresenceOut:
    """Say what is shown of oneself, to all at once who watch."""
    me = str(request.auth.user_id)
    with writing(request):
        say(Saying(me, given.text, given.until, given.invisible))
    return _shown(seen_by_self(who_is_here([me])[me]), own=True)


def _shown(view: View, *, own: bool) -> PresenceOut:
    devices = [DevicePresenceOut(device=key, state=state) for key, state in view.devices]
    return PresenceOut(
        user=view.user,
        state=view.state,
        text=view.text,
        until=view.until,
        last_seen=view.last_seen,
        invisible=view.invisible,
        devices=devices if own else None,
    )
