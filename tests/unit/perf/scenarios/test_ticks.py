"""Badges and ticks as a device knows them: what others wrote and none of the user's devices has read."""

from types import SimpleNamespace
from typing import Any

from messaging.protocol.frames import DeviceMark, Message, Receipts
from perf.scenarios.parts.ticks import Marks


def device(number: int, user: str, reads: int = 0) -> Any:
    client = SimpleNamespace(reads={"c": reads})
    return SimpleNamespace(number=number, account=SimpleNamespace(user=user), client=client)


def said(seq: int, user: str | None) -> Message:
    return Message(id=str(seq), seq=seq, position=seq, body="c hello", user=user)


def mark(of: str, *, delivered: int, read: int) -> Receipts:
    return Receipts(conversation="c", marks=[DeviceMark(device=of, user="u", delivered=delivered, read=read)])  # fmt: skip


def test_a_badge_counts_what_others_wrote_beyond_the_furthest_mark_of_the_user() -> None:
    marks, mine = Marks(), device(1, "ann")
    marks.delivered(mine, [said(1, "bob"), said(2, "ann"), said(3, "bob"), said(4, None)], 1.0)
    assert marks.badge(mine, "c", ["d1", "d2"]) == 3
    marks.marked(mine, mark("d2", delivered=4, read=3), 2.0)
    assert marks.badge(mine, "c", ["d1", "d2"]) == 1
    marks.marked(mine, mark("bobs", delivered=4, read=4), 3.0)
    assert marks.badge(mine, "c", ["d1", "d2"]) == 1
    assert marks.badge(device(1, "ann", reads=4), "c", ["d1"]) == 0


def test_a_system_message_is_nobodys_and_not_unread() -> None:
    marks, mine = Marks(), device(1, "ann")
    marks.delivered(mine, [Message(id="s", seq=1, position=1, kind="system", body="{}")], 1.0)
    assert marks.badge(mine, "c", []) == 0


def test_only_devices_whose_mark_was_told_have_a_message() -> None:
    marks, sender = Marks(), device(1, "ann")
    marks.marked(sender, mark("d2", delivered=7, read=5), 1.0)
    assert marks.reached(sender, "c", 7, by=["d2", "d3"]) == 1
    assert marks.reached(sender, "c", 8, by=["d2", "d3"]) == 0
    assert marks.read_at(sender, "c", "d2", 5) == 1.0
    assert marks.read_at(sender, "c", "d2", 6) is None
