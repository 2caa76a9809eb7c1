"""Typing is told at most once a second for each conversation and word."""

from __future__ import annotations

from messaging.protocol.frames import Typing
from messaging.protocol.server.typing_limit import TypingLimit


def test_repeat_waits_for_the_next_tick() -> None:
    limit, frame = TypingLimit(), Typing(conversation="a")
    assert [limit.admits(frame), limit.admits(frame)] == [True, False]
    limit.tick()
    assert limit.admits(frame)


def test_stopping_and_other_conversations_are_told_at_once() -> None:
    limit = TypingLimit()
    said = [
        Typing(conversation="a"),
        Typing(conversation="a", typing=False),
        Typing(conversation="b"),
    ]
    assert [limit.admits(frame) for frame in said] == [True, True, True]


def test_a_flood_of_changes_of_mind_is_told_once_each() -> None:
    limit = TypingLimit()
    flood = [Typing(conversation="a", typing=bool(n % 2)) for n in range(100)]
    assert sum(limit.admits(frame) for frame in flood) == 2
