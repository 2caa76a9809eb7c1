"""A feed is live or behind; behind it holds its cursor and is read in its turn."""

from __future__ import annotations

from messaging.protocol.frames import Mark, Message
from messaging.protocol.server.actions import Standing
from messaging.protocol.server.batch import Batch, Fence
from messaging.protocol.server.feeds import READS, Feed, Feeds
from messaging.protocol.server.window import Window

HERE = "here"


def standing(conversation: str = HERE, **more: int | bool | None) -> Standing:
    facts = {"last_seq": 10, "joined_seq": 3, **more}
    return Standing(conversation=conversation, kind="group", title="", **facts)  # type: ignore[arg-type]


def following(*conversations: str) -> Feeds:
    feeds = Feeds()
    for conversation in conversations:
        feeds.start(standing(conversation), since=4)
    return feeds


def feed(**more: int | bool | None) -> Feed:
    return Feed(**{"cursor": 4, "known": 10, "joined": 3, **more})  # type: ignore[arg-type]


def changes(since: int, upto: int, *fences: Fence) -> Batch:
    messages = [Message(id=f"m{n}", seq=n, position=n) for n in range(since + 1, upto + 1)]
    return Batch(conversation=HERE, since=since, upto=upto, messages=messages, fences=fences)


def shown(it: Feed, batch: Batch) -> Batch:
    it.hear(batch, "me")
    return it.permitted(batch)


def seqs(batch: Batch) -> list[int]:
    return [message.seq for message in batch.messages]


def test_feed_starts_behind_with_what_the_standing_says() -> None:
    feeds = Feeds()
    feeds.start(standing(since_joined=True, left_seq=8, delivered=2, read=1), since=4)
    it = feeds.get(HERE)
    assert it == Feed(
        cursor=4, known=8, joined=3, visible_from=3, leaves_at=8, delivered=2, read=1, live=False
    )
    assert feeds.behind
    assert HERE in feeds
    assert list(feeds) == [HERE]
    assert not feeds.is_live(HERE)


def test_feed_at_the_position_is_live() -> None:
    feeds = following(HERE)
    feeds.settle(HERE, position=4)
    assert feeds.is_live(HERE)
    assert not feeds.behind


def test_feed_before_the_position_is_read() -> None:
    feeds = following(HERE)
    assert feeds.next_read() == (HERE, 4)
    assert not feeds.behind
    feeds.settle(HERE, position=5)
    assert not feeds.is_live(HERE)
    assert feeds.next_read() == (HERE, 4)


def test_feed_of_a_stay_that_ended_is_never_live() -> None:
    feeds = Feeds()
    feeds.start(standing(left_seq=8), since=4)
    feeds.settle(HERE, position=4)
    assert feeds.behind


def test_page_on_its_way_is_not_asked_for_again() -> None:
    feeds = following(HERE)
    feeds.next_read()
    feeds.fall_behind(HERE)
    assert feeds.next_read() is None
    feeds.read_failed(HERE)
    assert feeds.next_read() == (HERE, 4)


def test_live_feed_that_falls_behind_is_read() -> None:
    feeds = following(HERE)
    feeds.settle(HERE, position=4)
    feeds.fall_behind(HERE)
    assert not feeds.is_live(HERE)
    assert feeds.next_read() == (HERE, 4)


def test_feeds_are_read_in_turn_and_a_few_at_a_time() -> None:
    names = [f"c{n}" for n in range(READS + 1)]
    feeds = following(*names)
    assert [feeds.next_read() for _ in names] == [*((name, 4) for name in names[:-1]), None]
    feeds.settle("c0", position=9)
    assert feeds.next_read() == (names[-1], 4)
    feeds.settle("c1", position=4)
    assert feeds.next_read() == ("c0", 4)


def test_what_ended_is_forgotten() -> None:
    feeds = following(HERE, "there")
    feeds.next_read()
    feeds.end(HERE)
    for forgotten in (feeds.fall_behind, feeds.read_failed):
        forgotten(HERE)
    feeds.settle(HERE, position=9)
    assert feeds.get(HERE) is None
    assert feeds.next_read() == ("there", 4)
    assert feeds.next_read() is None


def test_nothing_is_read_after_the_goodbye() -> None:
    feeds = following(HERE)
    feeds.stop_reading()
    assert feeds.next_read() is None


def test_own_fence_ends_the_feed() -> None:
    it = feed()
    assert seqs(shown(it, changes(4, 9, Fence("me", 7)))) == [5, 6, 7]
    it.cursor = 6
    assert not it.over
    it.cursor = 7
    assert it.over


def test_fence_of_someone_else_or_of_an_earlier_stay_ends_nothing() -> None:
    it = feed(joined=8)
    batch = changes(4, 9, Fence("me", 7), Fence("other", 9))
    assert shown(it, batch) is batch
    assert not it.over


def test_first_of_several_fences_counts() -> None:
    it = feed(leaves_at=6)
    assert seqs(shown(it, changes(4, 9, Fence("me", 8)))) == [5, 6]


def test_what_was_said_before_a_stay_may_be_hidden() -> None:
    assert seqs(shown(feed(visible_from=7), changes(4, 9))) == [7, 8, 9]


def test_newer_stay_lifts_the_fence_of_the_older() -> None:
    it = feed(leaves_at=6)
    it.renew(standing(joined_seq=8, since_joined=True))
    assert seqs(shown(it, changes(4, 9, Fence("me", 6)))) == [8, 9]


def test_nothing_is_known_beyond_the_end_of_a_stay_until_a_newer_one_begins() -> None:
    it = feed()
    it.hear(changes(10, 12, Fence("me", 11)), "me")
    it.hear(changes(12, 30), "me")
    assert it.known == 11
    it.renew(standing(joined_seq=20, last_seq=30))
    assert it.known == 30


def test_same_stay_changes_nothing() -> None:
    it = feed(leaves_at=6)
    it.renew(standing(joined_seq=3))
    assert it.leaves_at == 6


def test_marks_only_rise() -> None:
    it = feed()
    assert it.mark(HERE, delivered=5, read=2) == Mark(conversation=HERE, delivered=5, read=2)
    assert it.mark(HERE, delivered=5, read=1) is None
    assert it.mark(HERE, delivered=4, read=3) == Mark(conversation=HERE, delivered=5, read=3)


def test_acknowledged_marks_rise_give_credit_back_and_name_what_is_ahead() -> None:
    feeds, window = following(HERE, "other"), Window(messages=1)
    window.sent(HERE, upto=6, messages=1, size=1)
    marks = [
        Mark(conversation="unknown", delivered=1),
        Mark(conversation="other", delivered=11),
        Mark(conversation=HERE, delivered=5, read=6),
        Mark(conversation=HERE, delivered=6),
    ]
    moved, ahead = feeds.acknowledge(marks, window)
    assert moved == [Mark(conversation=HERE, delivered=6, read=6)]
    assert ahead == "11 > 10"
    assert not window.exhausted


def test_written_changes_are_marks_where_they_raise_any() -> None:
    feeds = following(HERE, "other")
    assert feeds.delivered({HERE: 6, "unknown": 1}) == [Mark(conversation=HERE, delivered=6)]
    assert feeds.delivered({HERE: 6, "other": 7}) == [Mark(conversation="other", delivered=7)]
