"""A watched conversation takes its changes in order, and keeps the recent ones for those who lag."""

from __future__ import annotations

from itertools import permutations

import pytest

from messaging.hub.topic import MOST_WAITING, Topic
from messaging.protocol.frames import DeviceMark, Message
from messaging.protocol.server.batch import Batch

HERE = "here"
ROOMY = 100_000


def changes(since: int, upto: int) -> Batch:
    messages = [Message(id=f"m{n}", seq=n, position=n) for n in range(since + 1, upto + 1)]
    return Batch(conversation=HERE, since=since, upto=upto, messages=messages)


def take(topic: Topic, since: int, upto: int, *, ring_bytes: int = ROOMY) -> list[tuple[int, int]]:
    due = topic.take(changes(since, upto), ring_bytes=ring_bytes)
    return [(batch.since, batch.upto) for batch in due]


def recent(topic: Topic, since: int) -> list[tuple[int, int]]:
    return [(batch.since, batch.upto) for batch in topic.recent(since)]


def mark(delivered: int, read: int = 0, *, device: str = "d") -> DeviceMark:
    return DeviceMark(device=device, user="u", delivered=delivered, read=read)


@pytest.mark.parametrize("order", list(permutations([(4, 5), (5, 8), (8, 9), (9, 12)])))
def test_changes_are_due_in_order_in_whatever_order_they_come(
    order: tuple[tuple[int, int], ...],
) -> None:
    topic = Topic(HERE, 4)
    due = [one for since, upto in order for one in take(topic, since, upto)]
    assert due == [(4, 5), (5, 8), (8, 9), (9, 12)]
    assert topic.position == 12
    assert not topic.hole


def test_what_leaves_a_hole_waits_for_it() -> None:
    topic = Topic(HERE, 4)
    assert take(topic, 6, 7) == []
    assert (topic.position, topic.hole) == (4, True)


def test_what_waits_behind_a_hole_is_bounded_in_bytes() -> None:
    """More comes from the database, with the hole."""
    topic = Topic(HERE, 0)
    size = len(changes(1, 2).json)
    for since in range(1, 20, 2):
        take(topic, since, since + 1, ring_bytes=3 * size)
    assert len(topic.waiting) == 3


def test_old_news_is_none() -> None:
    topic = Topic(HERE, 4)
    assert take(topic, 2, 4) == []
    assert recent(topic, 2) == []


def test_overlap_is_cut() -> None:
    topic = Topic(HERE, 4)
    [batch] = topic.take(changes(2, 6), ring_bytes=ROOMY)
    assert (batch.since, [message.seq for message in batch.messages]) == (4, [5, 6])


def test_page_that_fills_a_hole_frees_what_it_covers_and_what_follows() -> None:
    topic = Topic(HERE, 4)
    take(topic, 5, 6)
    take(topic, 6, 9)
    assert take(topic, 4, 7) == [(4, 7), (7, 9)]
    assert not topic.hole


def test_hole_that_stays_holds_back_what_lies_behind_it() -> None:
    topic = Topic(HERE, 4)
    take(topic, 5, 6)
    take(topic, 8, 9)
    assert take(topic, 4, 5) == [(4, 5), (5, 6)]
    assert topic.hole


@pytest.mark.parametrize("order", list(permutations([6, 9])))
def test_longer_of_two_early_batches_is_kept(order: tuple[int, int]) -> None:
    topic = Topic(HERE, 4)
    for upto in order:
        take(topic, 5, upto)
    assert take(topic, 4, 5) == [(4, 5), (5, 9)]


def test_what_waits_is_bounded() -> None:
    topic = Topic(HERE, 0)
    for n in range(2 * MOST_WAITING):
        take(topic, n + 1, n + 2)
    assert len(topic.waiting) == MOST_WAITING


def test_ring_gives_all_that_follows_a_cursor() -> None:
    topic = Topic(HERE, 4)
    for seq in range(4, 8):
        take(topic, seq, seq + 1)
    assert recent(topic, 4) == [(4, 5), (5, 6), (6, 7), (7, 8)]
    assert recent(topic, 6) == [(6, 7), (7, 8)]
    assert recent(topic, 8) == []


def test_ring_that_lacks_a_change_gives_nothing() -> None:
    """Else whoever reads from it would skip that change."""
    topic = Topic(HERE, 4)
    assert recent(topic, 4) == []
    take(topic, 4, 5)
    assert recent(topic, 3) == []


def test_ring_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    topic = Topic(HERE, 0)
    room = 3 * len(changes(10, 11).json)
    for seq in range(20):
        take(topic, seq, seq + 1, ring_bytes=room)
    assert recent(topic, 17) == [(17, 18), (18, 19), (19, 20)]
    assert recent(topic, 16) == []


def test_batch_larger_than_the_ring_is_due_and_not_kept() -> None:
    topic = Topic(HERE, 4)
    assert take(topic, 4, 6, ring_bytes=10) == [(4, 6)]
    assert recent(topic, 4) == []


def test_mark_that_is_ahead_waits_for_its_change() -> None:
    """A fence may lie before that change."""
    topic = Topic(HERE, 4)
    assert topic.ripe([mark(5), mark(4, device="e")]) == [mark(4, device="e")]
    assert topic.early == {"d": mark(5)}


def test_newest_of_a_devices_early_marks_is_kept() -> None:
    topic = Topic(HERE, 4)
    topic.ripe([mark(5, 1), mark(6), mark(5), mark(6, 2), mark(6, 1)])
    assert topic.early == {"d": mark(6, 2)}


def test_marks_are_news_once() -> None:
    topic = Topic(HERE, 4)
    assert topic.news([mark(3, 1)]) == [mark(3, 1)]
    assert topic.news([mark(3, 1), mark(2, 1)]) == []
    assert topic.news([mark(3, 2)]) == [mark(3, 2)]
    assert topic.news([mark(4, 2)]) == [mark(4, 2)]


def test_first_mark_of_a_device_is_news_even_at_nothing() -> None:
    assert Topic(HERE, 4).news([mark(0)]) == [mark(0)]
