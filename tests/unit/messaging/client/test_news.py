"""What one application is told: everything, once, in order, whether the queue or the store brings it."""

import asyncio
from collections.abc import Callable

import pytest

import messaging.client.news
from messaging.client.news import News
from messaging.protocol.client.happenings import AnyHappening, Applied, Restarted
from messaging.protocol.client.outbox import Outbox
from messaging.protocol.frames import Message


def applied(first: int, upto: int, *, conversation: str = "c1") -> Applied:
    """Changes of a conversation."""
    messages = [Message(id=f"m{n}", seq=n, position=n) for n in range(first, upto + 1)]
    return Applied(conversation=conversation, messages=messages, upto=upto)


class Story:
    """News whose store is read while something else happens."""

    def __init__(self, *stored: Applied, meanwhile: Callable[[News], None]) -> None:
        self.taken: list[int] = []
        self._stored, self._meanwhile = list(stored), meanwhile
        self.news = News(untaken=self.read, taken=lambda _, upto: self.taken.append(upto))

    async def read(self) -> list[Applied]:
        await asyncio.sleep(0)
        self._meanwhile(self.news)
        self.news.end()
        found, self._stored = self._stored, []
        return found

    async def told(self) -> list[AnyHappening]:
        return [happening async for happening in self.news]


async def test_what_arrives_while_the_store_is_read_does_not_hide_what_the_store_has() -> None:
    """The newest two are in both; the older ones are in the store alone, and are told first."""
    news = [applied(9, 10), applied(11, 11)]
    story = Story(applied(1, 10), meanwhile=lambda it: it.tell([*news]))
    assert await story.told() == [applied(1, 10), applied(11, 11)]
    assert story.taken == [10, 11]


async def test_what_did_not_fit_into_the_queue_is_not_overtaken_by_what_does_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third change was left to the store; the fourth came when there was room, and hid it."""
    monkeypatch.setattr(messaging.client.news, "QUEUE", 2)
    reads = [[], [applied(3, 4)]]
    told: list[AnyHappening] = []

    async def read() -> list[Applied]:
        if len(reads) == 2:
            news.tell([applied(n, n) for n in (1, 2, 3)])
        return reads.pop(0)

    news = News(untaken=read, taken=lambda *_: None)
    async for happening in news:
        if not told:
            news.tell([applied(4, 4)])
        told.append(happening)
        if len(told) == 3:
            news.end()
    assert told == [applied(1, 1), applied(2, 2), applied(3, 4)]


async def test_an_application_that_sends_and_never_listens_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each confirmation holds the text that was sent; who sent it was told by its handle."""
    monkeypatch.setattr(messaging.client.news, "QUEUE", 2)
    news = News(untaken=Story(meanwhile=lambda _: None).read, taken=lambda *_: None)
    entry = Outbox().send("c1", "text")
    news.tell([entry.confirmed("m1", Message(id="m1", seq=1, position=1))] * 5)
    assert len(news._queue) == 2


async def test_what_the_store_had_before_a_reset_is_not_told_after_it() -> None:
    """The numbers begin anew: an old 10 would hide the new ones up to it. Others lose nothing by it."""
    other = applied(1, 2, conversation="c2")

    def reset(news: News) -> None:
        news.restart("c1")
        news.tell([Restarted(conversation="c1"), applied(1, 3)])

    story = Story(applied(1, 10), other, meanwhile=reset)
    assert await story.told() == [other, Restarted(conversation="c1"), applied(1, 3)]
    assert story.taken == [2, 3]
