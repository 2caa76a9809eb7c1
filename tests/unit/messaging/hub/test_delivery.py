"""The server's promises to a device, held against the truth in whatever order things happen.

Each mutant breaks one rule and must be convicted, else the judge proves nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from messaging.hub.topic import Topic
from messaging.protocol.frames import Mark
from messaging.protocol.server.actions import Standing
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.feeds import Feed, Feeds
from messaging.protocol.server.session import Session
from tests.unit.messaging.hub.delivery import play
from tests.unit.messaging.hub.reference import Broken


def test_device_gets_every_change_once_and_in_order_whatever_happens() -> None:
    play(examples=50)


@pytest.mark.long
def test_device_gets_every_change_once_and_in_order_in_many_games() -> None:
    play(examples=500)


def hear_of_no_end(feed: Feed, batch: Batch, user: str) -> None:
    feed.known = max(feed.known, batch.upto)


def be_live(feeds: Feeds, conversation: str, *, position: int) -> None:
    feed = feeds.get(conversation)
    if feed is not None:
        feed.live = True


def take_at_once(topic: Topic, batch: Batch, *, ring_bytes: int) -> list[Batch]:
    topic.position = max(topic.position, batch.upto)
    return [batch]


def take_any_from_the_ring(topic: Topic, since: int) -> list[Batch]:
    return [batch for batch in topic._ring if batch.upto > since]


def begin_with_the_stay(standing: Standing, cursor: int | None) -> int:
    return standing.first


def mark_again(feed: Feed, conversation: str, *, delivered: int, read: int) -> Mark:
    return Mark(conversation=conversation, delivered=delivered)


def offer_after_goodbye(session: Session, batch: Batch, offer: Any = Session.offer) -> None:
    closing, session.closing = session.closing, None
    offer(session, batch)
    session.closing = closing


MUTANTS: dict[str, tuple[str, str, object, str]] = {
    # what it forgets: where, what does it instead, the promise that is broken
    "to cut what the client has": (
        "messaging.protocol.server.batch.Batch",
        "after",
        lambda batch, seq: batch,
        "told again|out of range",
    ),
    "the fence": (
        "messaging.protocol.server.feeds.Feed",
        "hear",
        hear_of_no_end,
        "above the fence",
    ),
    "what is hidden": (
        "messaging.protocol.server.batch.Batch",
        "visible_from",
        lambda batch, position: batch,
        "hidden from this user",
    ),
    "to compare the positions before it is live": (
        "messaging.protocol.server.feeds.Feeds",
        "settle",
        be_live,
        "has to ask|never in step",
    ),
    "the credit": (
        "messaging.protocol.server.window.Window",
        "exhausted",
        property(lambda window: False),
        "are in flight",
    ),
    "the order": ("messaging.hub.topic.Topic", "take", take_at_once, "has to ask"),
    "that the ring has an end": (
        "messaging.hub.topic.Topic",
        "recent",
        take_any_from_the_ring,
        "does not bring it on",
    ),
    "who was added again": (
        "messaging.protocol.server.feeds.Feed",
        "renew",
        lambda feed, standing: None,
        "not where the stay ended|never in step",
    ),
    "the client's own cursor": (
        "messaging.protocol.server.resume",
        "start",
        begin_with_the_stay,
        "has to ask|told again",
    ),
    "that marks only rise": (
        "messaging.protocol.server.feeds.Feed",
        "mark",
        mark_again,
        "a mark went",
    ),
    "that goodbye is the end": (
        "messaging.protocol.server.session.Session",
        "offer",
        offer_after_goodbye,
        "follow the goodbye",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("forgotten", MUTANTS)
def test_judge_convicts_a_server_that_forgets(
    forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that can't convict proves nothing."""
    place, name, instead, promise = MUTANTS[forgotten]
    monkeypatch.setattr(f"{place}.{name}", instead)
    with pytest.raises(Broken, match=promise):
        play(examples=400)
