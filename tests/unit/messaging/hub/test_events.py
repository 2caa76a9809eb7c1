"""The events of this moment are what they are documented to be."""

from __future__ import annotations

import msgspec
import pytest

from messaging.hub.events import PresenceEvent, TypingEvent, read

TYPING = {
    "type": "lockstep.typing",
    "conversation": "c",
    "user": "u",
    "device": "d",
    "typing": True,
    "upto": 7,
}


def test_events_have_the_public_format() -> None:
    typing = TypingEvent(conversation="c", user="u", device="d", typing=True, upto=7)
    assert msgspec.to_builtins(typing) == TYPING
    presence = msgspec.to_builtins(PresenceEvent(users=["u"]))
    assert presence == {"type": "lockstep.presence", "users": ["u"]}


def test_events_are_read_with_whatever_else_they_carry() -> None:
    assert read({**TYPING, "origin": "o", "more": 1}) == TypingEvent(
        conversation="c", user="u", device="d", typing=True, upto=7
    )
    assert read({"type": "lockstep.presence", "users": ["u"]}) == PresenceEvent(users=["u"])


@pytest.mark.parametrize(
    "nonsense",
    [
        {"type": "lockstep.presence"},
        {"type": "lockstep.presence", "users": "all"},
        {**TYPING, "upto": "7"},
        {"type": "lockstep.other"},
    ],
)
def test_nonsense_is_refused(nonsense: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(nonsense)
