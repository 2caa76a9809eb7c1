"""Marks on their way to the sessions of a process never go back, whatever way they come by."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from messaging.hub.marks import SUMMARY_DEVICES, MarkBoard
from messaging.hub.topic import Topic
from messaging.protocol.frames import DeviceMark, MarkSummary, Message, Receipts
from messaging.protocol.server.batch import Batch
from tests import scene
from tests.unit.messaging.hub.links import Seen

ROOM = "room"


def mark(delivered: int, read: int = 0, *, device: str = "ann's") -> DeviceMark:
    return DeviceMark(device=device, user="ann", delivered=delivered, read=read)


class SlowReader:
    """Reads marks as they were when it was asked, and answers when it is let."""

    def __init__(self, *stored: DeviceMark) -> None:
        self.stored, self.may_answer = list(stored), asyncio.Event()
        self.asked: list[set[str]] = []

    async def marks(self, asked: list[str], **_: object) -> dict[str, list[DeviceMark]]:
        self.asked.append(set(asked))
        await self.may_answer.wait()
        return {ROOM: list(self.stored)}


async def test_marks_that_were_read_for_a_welcome_do_not_go_behind_those_shown_meanwhile() -> None:
    topic, link = Topic(ROOM, 9), Seen("bob", ROOM)
    topic.links.add(link)
    reader: Any = SlowReader(mark(4, 4), mark(7, device="cleo's"))
    board = MarkBoard({ROOM: topic}, reader)
    greeting = asyncio.create_task(board.greet(link, [ROOM]))
    await asyncio.sleep(0)
    board.show(ROOM, [mark(5, 4)])
    reader.may_answer.set()
    await greeting
    shown = [one for frame in link.heard() if isinstance(frame, Receipts) for one in frame.marks]
    assert [(one.device, one.delivered) for one in shown] == [("ann's", 5), ("cleo's", 7)]


async def test_a_hint_that_comes_later_than_a_newer_mark_was_read_for_a_welcome_is_not_shown() -> (
    None
):
    topic, link, other = Topic(ROOM, 9), Seen("bob", ROOM), Seen("eve", ROOM)
    topic.links |= {link, other}
    reader: Any = SlowReader(mark(6))
    reader.may_answer.set()
    board = MarkBoard({ROOM: topic}, reader)
    board.show(ROOM, [mark(4)])
    await board.greet(link, [ROOM])
    board.show(ROOM, [mark(5)])
    for session, delivered in ((link, [4, 6]), (other, [4, 6])):
        receipts = [frame for frame in session.heard() if isinstance(frame, Receipts)]
        assert [one.delivered for frame in receipts for one in frame.marks] == delivered


async def test_marks_that_moved_before_the_bus_was_heard_are_read_once_for_all_that_were_joined() -> (
    None
):
    topic, link = Topic(ROOM, 9), Seen("bob", ROOM)
    topic.links.add(link)
    reader: Any = SlowReader(mark(4))
    reader.may_answer.set()
    board = MarkBoard({ROOM: topic}, reader)
    await board.greet(link, [ROOM])
    link.heard()
    reader.stored, reader.asked = [mark(6)], []
    await asyncio.gather(board.joined(ROOM), board.joined("another"))
    assert reader.asked == [{ROOM, "another"}]
    receipts = [frame for frame in link.heard() if isinstance(frame, Receipts)]
    assert [one.delivered for frame in receipts for one in frame.marks] == [6]


async def test_marks_of_many_conversations_leave_room_for_others_between_them() -> None:
    """All in one moment they would hold back the messages behind them, here and in every client."""
    rooms = [f"room {n}" for n in range(25)]
    topics, links = {room: Topic(room, 9) for room in rooms}, {r: Seen("bob", r) for r in rooms}
    for room in rooms:
        topics[room].links.add(links[room])
    board = MarkBoard(topics, SlowReader())  # type: ignore[arg-type]
    showing = asyncio.create_task(board.show_all({room: [mark(5)] for room in rooms}))
    await asyncio.sleep(0)
    shown = [room for room in rooms if links[room].heard()]
    assert shown == rooms[:3]
    await showing
    assert all(links[room].heard() for room in rooms[3:])


async def test_marks_of_a_busy_conversation_leave_with_its_next_change_and_without_one_soon() -> (
    None
):
    topic, link = Topic(ROOM, 7), Seen("bob", ROOM)
    topic.links.add(link)
    board = MarkBoard({ROOM: topic}, SlowReader())  # type: ignore[arg-type]
    topic.take(change(8), ring_bytes=9)
    board.show(ROOM, [mark(4)])
    assert delivered(link) == [4]  # one change makes no crowd
    topic.take(change(9), ring_bytes=9)
    board.show(ROOM, [mark(6)])
    board.show(ROOM, [mark(5), mark(7, device="cleo's")])
    assert delivered(link) == []
    board.follow(topic)
    assert delivered(link) == [6, 7]
    board.show(ROOM, [mark(8)])
    await scene.eventually(lambda: link.session.ready)
    assert delivered(link) == [8]


def change(seq: int) -> Batch:
    message = Message(id=str(seq), seq=seq, position=seq)
    return Batch(conversation=ROOM, since=seq - 1, upto=seq, messages=[message])


def delivered(link: Seen) -> list[int]:
    """The marks that the session was shown since the last call."""
    receipts = [frame for frame in link.heard() if isinstance(frame, Receipts)]
    return [one.delivered for frame in receipts for one in frame.marks]


async def test_of_many_who_come_at_once_the_first_finds_out_that_a_conversation_is_large() -> None:
    topic, links = Topic(ROOM, 9), [Seen(f"user {n}", ROOM) for n in range(5)]
    topic.links |= set(links)
    reader: Any = SlowReader(*(mark(4, device=f"{n}") for n in range(SUMMARY_DEVICES + 1)))
    reader.may_answer.set()
    board = MarkBoard({ROOM: topic}, reader)
    await asyncio.gather(*(board.greet(link, [ROOM]) for link in links))
    assert len(reader.asked) == 1
    assert board._to_summarize == {ROOM}


async def test_marks_of_a_large_conversation_are_counted_for_whoever_comes_and_not_read_one_by_one() -> (
    None
):
    topic, link = Topic(ROOM, 9), Seen("bob", ROOM)
    topic.links.add(link)
    topic.devices = SUMMARY_DEVICES + 1

    class Counts:
        async def summaries(self, wanted: set[str]) -> dict[str, MarkSummary]:
            return dict.fromkeys(wanted, counts)

    counts = MarkSummary(
        last_seq=9, devices=101, delivered=9, read=0, lowest_delivered=0, lowest_read=0
    )
    board = MarkBoard({ROOM: topic}, Counts())  # type: ignore[arg-type]
    await board.greet(link, [ROOM])
    await board._summarize(board._to_summarize)
    assert [frame.summary for frame in link.heard() if isinstance(frame, Receipts)] == [counts]


async def test_a_conversation_that_has_shrunk_is_shown_by_marks_again_all_of_them_at_once() -> None:
    """Those of devices that left do not count: what was shown of them made it large for ever."""
    topic, link = Topic(ROOM, 9), Seen("bob", ROOM)
    topic.links.add(link)
    reader: Any = SlowReader(mark(9), mark(4, device="cleo's"))
    reader.may_answer.set()
    board = MarkBoard({ROOM: topic}, reader)
    board.show(ROOM, [mark(3, device=f"gone {n}") for n in range(SUMMARY_DEVICES + 1)])
    assert link.heard() == []

    async def summaries(wanted: set[str]) -> dict[str, MarkSummary]:
        few = MarkSummary(
            last_seq=9, devices=2, delivered=1, read=0, lowest_delivered=4, lowest_read=0
        )
        return dict.fromkeys(wanted, few)

    reader.summaries = summaries
    await board._summarize(board._to_summarize)
    board.show(ROOM, [mark(8), mark(5, device="cleo's")])
    receipts = [frame for frame in link.heard() if isinstance(frame, Receipts)]
    assert all(frame.summary is None for frame in receipts)
    shown = [(one.device, one.delivered) for frame in receipts for one in frame.marks]
    assert shown == [("ann's", 9), ("cleo's", 4), ("cleo's", 5)]


async def test_a_pass_hears_that_the_marks_could_not_be_read() -> None:
    """It would count as done otherwise, and the next one look back only as far as this one."""

    class Away:
        async def marks(self, *_: object, **__: object) -> object:
            raise psycopg.OperationalError("away")

    with pytest.raises(psycopg.OperationalError):
        await MarkBoard({ROOM: Topic(ROOM, 9)}, Away()).check([ROOM], seconds=6.0)  # type: ignore[arg-type]
