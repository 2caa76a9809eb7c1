"""Marks on their way to the sessions of this process: the newest of each device, shown once.

Marks are state, so whatever was lost is repaired by reading them again. They come by other ways than
the changes they tell of, so those that are ahead of a conversation wait for it: no mark overtakes the
fence below it. A conversation with more than 100 devices is shown by counts, at most once a second, until
a count finds that it has no longer so many.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

import psycopg

from messaging.hub.feed import FeedReader
from messaging.hub.topic import COMPANY_S, Link, Topic
from messaging.outage import Outage
from messaging.protocol.frames import DeviceMark, MarkSummary, Receipts

logger = logging.getLogger(__name__)

# Marks that were stored together are shown in ten parts over so long: all in one moment they held messages up, here and
# in the clients.
SPREAD_S = 0.05
PARTS = 10
SUMMARY_DEVICES = 100
SUMMARY_S = 1.0
FOR_EVER_S = 1e9
# After each attempt to read the marks for a greeting that failed; a restart of the database takes seconds.
RETRIES_S = (0.25, 1.0, 4.0, 16.0, 64.0)
JOINED_S = 0.05  # for more groups of the bus to be joined: after a restart hundreds are, one after the other
JOINING_S = 10.0  # that a busy process may take from a greeting until it hears of the conversation


class MarkBoard:
    """Shows marks of the watched conversations."""

    def __init__(self, topics: Mapping[str, Topic], feed: FeedReader) -> None:
        self._topics, self._feed = topics, feed
        self._to_summarize: set[str] = set()
        # One at a time: many may come to a conversation at once, and the first finds out whether it is large.
        self._greeting = asyncio.Lock()
        self._joined: set[str] = set()
        self._outage = Outage(logger, "the marks of large conversations can't be counted")

    async def show_all(self, moved: Mapping[str, list[DeviceMark]]) -> None:
        """Show the marks of many conversations, a part of them at a time."""
        conversations = list(moved)
        part = max(1, -(-len(conversations) // PARTS))
        for start in range(0, len(conversations), part):
            if start:
                await asyncio.sleep(SPREAD_S / PARTS)
            for conversation in conversations[start : start + part]:
                self.show(conversation, moved[conversation])

    def show(self, conversation: str, marks: list[DeviceMark]) -> None:
        """Show marks that moved to everyone here, unless they were shown: with the next change, if one is due soon."""
        topic = self._topics.get(conversation)
        if topic is None:
            return
        if topic.busy:
            topic.keep(marks)
            asyncio.get_running_loop().call_later(COMPANY_S, self.follow, topic)
        else:
            self._show(topic, topic.news(topic.ripe(marks)), topic.links)

    def _show(self, topic: Topic, marks: list[DeviceMark], links: Iterable[Link]) -> None:
        if not marks:
            return
        topic.devices = max(topic.devices, len(topic.shown))
        if topic.devices > SUMMARY_DEVICES:
            self._to_summarize.add(topic.conversation)
        else:
            _offer(links, Receipts(conversation=topic.conversation, marks=marks))

    def follow(self, topic: Topic) -> None:
        """The topic has moved, or has not for long: show what waited for it."""
        if topic.early:
            waiting, topic.early = list(topic.early.values()), {}
            self._show(topic, topic.news(topic.ripe(waiting)), topic.links)
        if topic.early_summary is not None:
            self._show_summary(topic, topic.early_summary)

    async def greet(self, link: Link, conversations: list[str]) -> None:
        """Show a session the current marks of conversations that are new to it.

        It follows them already: marks that moved while these were read were shown to it, and come first.
        What is news is shown to the others, too: a hint of it that comes later would go behind these.
        """
        for conversation, marks in (await self._read_all(link, conversations)).items():
            topic = self._topics.get(conversation)
            if topic is None:
                continue
            topic.devices = max(topic.devices, len(marks))
            ripe = topic.ripe(marks)
            self._show(topic, topic.news(ripe), topic.links - {link})
            if topic.devices > SUMMARY_DEVICES:
                self._to_summarize.add(conversation)
            else:
                self._show(topic, topic.current(ripe), [link])

    async def check(self, conversations: Iterable[str], *, seconds: float) -> None:
        """Show marks stored within the last `seconds` whose hint was lost. Raises psycopg.Error."""
        found = await self._feed.marks(list(conversations), seconds=seconds)
        for conversation, marks in found.items():
            self.show(conversation, marks)

    async def reread(self, conversation: str) -> None:
        """Show whatever moved, however long the transaction took that moved it. Raises psycopg.Error."""
        for one, marks in (await self._read_small([conversation])).items():
            self.show(one, marks)

    async def joined(self, conversation: str) -> None:
        """The bus is heard there from now on: show what moved since the greeting read the marks, of many at a time.

        The next pass of the reconciler would, but seconds later.
        """
        self._joined.add(conversation)
        if len(self._joined) > 1:
            return  # whoever was first looks for all
        await asyncio.sleep(JOINED_S)
        joined, self._joined = self._joined, set()
        try:
            await self.check(joined, seconds=JOINING_S)
        except psycopg.Error as error:
            logger.debug("marks can't be read now, a pass will find them: %s", error)

    async def _read_all(self, link: Link, conversations: list[str]) -> dict[str, list[DeviceMark]]:
        """The marks of those that a session follows; tried again, for no pass would find old ones."""
        for wait in RETRIES_S:
            followed = [one for one in conversations if self._follows(link, one)]
            try:
                return await self._read_small(followed)
            except psycopg.Error as error:
                logger.debug("marks can't be read now: %s", error)
                await asyncio.sleep(wait)
        return {}

    async def _read_small(self, conversations: list[str]) -> dict[str, list[DeviceMark]]:
        """The marks of those that are not known to be large; the others are counted."""
        async with self._greeting:
            small = [one for one in conversations if not self._is_large(one)]
            self._to_summarize.update(set(conversations).difference(small))
            return await self._feed.marks(small, seconds=FOR_EVER_S) if small else {}

    def _follows(self, link: Link, conversation: str) -> bool:
        topic = self._topics.get(conversation)
        return topic is not None and link in topic.links

    def _is_large(self, conversation: str) -> bool:
        """Whether it is known to be: it may have thousands of marks, and is shown by counts."""
        topic = self._topics.get(conversation)
        return topic is not None and topic.devices > SUMMARY_DEVICES

    async def summarize(self) -> None:
        """For ever: once a second, count the marks of the large conversations in which some moved."""
        while True:
            await asyncio.sleep(SUMMARY_S)
            wanted, self._to_summarize = self._to_summarize, set()
            try:
                await self._summarize(wanted)
            except psycopg.Error as error:
                self._outage.met(error)
                self._to_summarize |= wanted
            except Exception as error:  # of our own: counts are state, they may be shown twice
                self._outage.met(error, ours=True)
                self._to_summarize |= wanted
            else:
                if wanted:
                    self._outage.over()

    async def _summarize(self, wanted: set[str]) -> None:
        summaries = await self._feed.summaries(wanted) if wanted else {}
        small = []
        for conversation, summary in summaries.items():
            topic = self._topics.get(conversation)
            if topic is not None:
                topic.devices = summary.devices
                if summary.devices > SUMMARY_DEVICES:
                    self._show_summary(topic, summary)
                else:
                    small.append(conversation)
        if small:
            await self._show_each(small)

    async def _show_each(self, conversations: list[str]) -> None:
        """These have shrunk: show marks again, first those of all devices that they still have, to everyone here."""
        found = await self._feed.marks(conversations, seconds=FOR_EVER_S)
        for conversation in conversations:
            topic = self._topics.get(conversation)
            if topic is not None:
                marks = found.get(conversation, [])
                here = {mark.device for mark in marks}
                topic.shown = {one: seen for one, seen in topic.shown.items() if one in here}
                topic.early_summary = None
                ripe = topic.ripe(marks)
                topic.news(ripe)
                self._show(topic, topic.current(ripe), topic.links)

    def _show_summary(self, topic: Topic, summary: MarkSummary) -> None:
        """Show the counts, once the topic is where they were taken."""
        early = summary.last_seq > topic.position
        topic.early_summary = summary if early else None
        if not early:
            _offer(topic.links, Receipts(conversation=topic.conversation, summary=summary))


def _offer(links: Iterable[Link], frame: Receipts) -> None:
    """Hand a frame to sessions, encoded once per codec."""
    encoded: dict[bool, bytes] = {}
    for link in links:
        codec = link.session.codec
        if codec.binary not in encoded:
            encoded[codec.binary] = codec.part(frame)
        link.session.offer_marks(frame.conversation, frame.marks, encoded[codec.binary])
        if link.session.ready:
            link.wake()
