"""The events of this moment on the bus: who may be here otherwise, and who is typing. Public, as all of them.

In the group `presence`: {"type": "lockstep.presence", "users": [ids], "origin"}. It is a hint that these
users may be here otherwise than before; what is so now is asked of the database.
In a conversation's group: {"type": "lockstep.typing", "conversation", "user", "device", "typing", "upto",
"origin"}; `upto` is the change up to which the typist's process knew the conversation.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

PRESENCE, TYPING = "lockstep.presence", "lockstep.typing"
PRESENCE_GROUP = "presence"


class TypingEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=TYPING):
    """Somebody is typing in a conversation, or not any more."""

    conversation: str
    user: str
    device: str
    typing: bool
    upto: int


class PresenceEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=PRESENCE):
    """These users may be here otherwise than before."""

    users: list[str]


Moment: TypeAlias = PresenceEvent | TypingEvent


def read(event: dict[str, Any]) -> Moment:
    """What an event of the bus tells. Raises msgspec.ValidationError if it is none of these."""
    return msgspec.convert(event, PresenceEvent | TypingEvent)
