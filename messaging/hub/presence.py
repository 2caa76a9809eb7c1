"""Shows the sessions of this process who is here: the difference of two moments of the database.

Hints say whom to look at, from wherever they come; they may be lost, for every pass looks at everyone.
Looks take at most half of the time, so a storm of arrivals is some dozens of statements and frames.
What is shown is in `presence.liveness`, to whom in `circles`. Laws: who may see whom is compared with
the database *after* presence was read, and before it is shown; while the database is away nothing
moves, and everyone is told that it is stale.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from time import monotonic

import psycopg

from messaging import metrics
from messaging.hub.circles import CircleReader, Circles, Key, Members, user_of
from messaging.hub.people import People
from messaging.hub.showing import Showing
from messaging.hub.topic import Link
from messaging.hub.waiting import Due, Work
from messaging.protocol.errors import Refusal
from messaging.protocol.frames import PresenceWatch
from presence import conf
from presence.liveness import Difference, Here, View, difference, seen_by_others, seen_by_self
from presence.who import Reader

logger = logging.getLogger(__name__)

# From one look to the next: with the statements well within the 50 ms that news may take. A look that
# takes longer is followed by as long a rest: in a storm others come first, and more goes into one frame.
PACE_S = 0.02
SLICE = 500  # users a look: about 10 ms of this process's time
RETRY_S = 0.25  # between two attempts while the database is away


class PresenceBoard:
    """What of presence the sessions of this process were shown, and what they are to be shown next."""

    def __init__(self, people: People) -> None:
        self.stale = False
        self._people = people
        self._circles = Circles()
        self._reader, self._circle_reader = Reader(), CircleReader()
        self._debounce_s = conf.current().offline_after_s
        self._shown: dict[str, View] = {}  # of everyone in a circle, as the others see them
        self._own: dict[str, View] = {}  # of everyone with sessions here, as they see themselves
        self._work = Work()
        self._due = Due()
        self._anything = asyncio.Event()
        self._pass: list[str] | None = None  # whom the pass under way has still to look at
        self._passed = asyncio.Event()
        self.check_all = asyncio.Event()  # a pass is wanted soon
        self.hears = False  # the other processes' hints

    # What this process tells

    def entered(self, link: Link, conversation: str, links: set[Link]) -> None:
        """A session follows a conversation, whose sessions here are `links`: it is shown who is in it."""
        viewer = user_of(link)
        circle = self._circles.get(conversation) or self._circles.open(conversation, links)
        if viewer not in circle.members:
            self._work.circles.add(conversation)
        self._work.entering.setdefault(link, set()).add(conversation)
        self._anything.set()

    def greet(self, link: Link) -> None:
        """A session was opened: it is shown its own user, whatever conversations it has."""
        self._work.entering.setdefault(link, set())
        self._work.users.add(user_of(link))
        self._anything.set()

    def left(self, link: Link, conversation: str) -> None:
        """A session is about to follow a conversation no more: whom it saw only there is gone for it."""
        circle = self._circles.get(conversation)
        if circle is not None and user_of(link) in circle.members:  # else that was told already
            showing = Showing(self._circles, self._shown, self._own)
            showing.hide(link, circle.members, other_than=circle)
            showing.offer(stale=self.stale)

    def closed(self, conversation: str) -> None:
        """No session here follows the conversation any more."""
        self._forget_users(self._circles.drop(conversation))

    def changed(self, conversation: str) -> None:
        """Somebody may have joined or left."""
        if self._circles.get(conversation) is not None:
            self._work.circles.add(conversation)
            self._anything.set()

    def watch(self, link: Link, frame: PresenceWatch) -> None:
        """A session replaces its watch list; answered by the next look."""
        self._circles.open(link, {link}, asked=tuple(frame.users))
        self._work.asked.append((link, frame))
        self._work.circles.add(link)
        self._anything.set()

    def forget(self, link: Link) -> None:
        """A session is over."""
        self._work.entering.pop(link, None)
        self._forget_users(self._circles.drop(link))
        user = user_of(link)
        if user not in self._people:
            self._own.pop(user, None)
            if user not in self._circles:
                self._due.note(user, None)

    def is_hidden(self, user: str) -> bool:
        """Whether a user with sessions here is invisible, or may be: until the first look nobody knows."""
        own = self._own.get(user)
        return own is None or own.invisible

    def hint(self, users: Iterable[str]) -> None:
        """How these users are here may have changed."""
        news = [user for user in users if user in self._circles or user in self._people]
        if news:
            self._work.users.update(news)
            self._anything.set()

    def joined(self) -> None:
        """From now on the other processes are heard."""
        self.hears = True
        self.check_all.set()

    def _forget_users(self, users: Iterable[str]) -> None:
        for user in users:
            self._shown.pop(user, None)
            if user not in self._people:
                self._due.note(user, None)

    async def check(self) -> None:
        """Look at everyone, within the next looks; returns when that is done."""
        if self._pass is None:
            self._pass = list({*self._circles.users, *self._people.users})
            self._passed.clear()
            self._anything.set()
        await self._passed.wait()

    # Looking

    async def run(self) -> None:
        """For ever: look at whoever may have changed."""
        while True:
            await self._wait()
            work, self._work = self._work, Work()
            work.users.update(self._due.take(monotonic()))
            began = monotonic()
            try:
                await self._look(work)
                took = monotonic() - began
                await asyncio.sleep(max(PACE_S - took, took))
            except psycopg.Error as error:
                logger.debug("presence can't be read now: %s", error)
                self._failed(work)
                await asyncio.sleep(RETRY_S)
            except (
                Exception
            ):  # an error of our own: whoever waits for this look, waits for the next
                logger.exception("a look at presence failed")
                self._failed(work)
                await asyncio.sleep(RETRY_S)

    async def _wait(self) -> None:
        """Until there is something to do: asked for, due, or left of the pass."""
        self._anything.clear()
        if self._work or self._pass is not None:
            return
        try:
            async with asyncio.timeout(self._due.seconds(monotonic())):
                await self._anything.wait()
        except TimeoutError:
            return

    async def _look(self, work: Work) -> None:
        """Read, compare, show. Nothing is changed before everything is read."""
        fresh = await self._read_circles(work.circles)
        users = self._users(work, fresh)
        with metrics.timed("presence"):
            here = await self._reader.who_is_here(users) if users else {}
        seen = {user: seen_by_others(one) for user, one in here.items()}
        found = difference(self._shown, seen, debounce_s=self._debounce_s)
        fresh |= await self._read_circles(await self._outdated(work, fresh, found))
        self._show(work, fresh, here, found)
        self._pass_on(users)

    def _users(self, work: Work, fresh: dict[Key, Members]) -> list[str]:
        """Whom to look at: who is asked for, who is new in a circle, and some of the pass."""
        users = {user for user in work.users if user in self._circles or user in self._people}
        for members in fresh.values():
            users.update(user for user in members if user not in self._shown)
        users.update(user_of(link) for link in work.entering if user_of(link) not in self._own)
        if self._pass is not None:
            users.update(self._pass[: max(SLICE - len(users), 1)])
        return list(users)

    async def _outdated(self, work: Work, fresh: dict[Key, Members], found: Difference) -> set[Key]:
        """The circles that are to be read again before anything is shown in them."""
        concerned = {*found.shown, *(user_of(link) for link in work.entering)}
        concerned.update(
            user_of(link) for user in found.news for link in self._circles.viewers(user)
        )
        concerned.update(user for members in fresh.values() for user in members)
        versions = await self._circle_reader.versions(concerned)
        changed = {
            key
            for key, members in fresh.items()
            if any(versions[user] != version for user, version in members.items())
        }
        return changed | (self._circles.outdated(versions) - fresh.keys())

    async def _read_circles(self, keys: set[Key]) -> dict[Key, Members]:
        if not keys:
            return {}
        conversations = [key for key in keys if isinstance(key, str)]
        found = await self._circle_reader.conversations(conversations)
        return found | await self._circle_reader.watch_lists(list(self._circles.lists(keys)))

    # Showing

    def _show(
        self, work: Work, fresh: dict[Key, Members], here: dict[str, Here], found: Difference
    ) -> None:
        showing = Showing(self._circles, self._shown, self._own)
        changes = [
            change for key, members in fresh.items() if (change := self._circles.put(key, members))
        ]
        for user, view in found.shown.items():
            if user in self._circles:
                old, self._shown[user] = self._shown.get(user), view
                if user in found.news:
                    showing.news(user, first=old is None)
        for user, one in here.items():
            if user in self._people:
                view, old = seen_by_self(one), self._own.get(user)
                self._own[user] = view
                if view != old:
                    showing.to_self(user, self._people.links_of(user))
        for change in changes:
            showing.changed(change)
            self._want(change.came)
            self._forget_users(user for user in change.went if user not in self._circles)
        for link, conversations in work.entering.items():
            showing.entered(link, conversations)
        for link, frame in work.asked:
            showing.answer(link, frame, stale=self.stale)
        showing.offer(stale=self.stale)
        self._note_due(here, found)

    def _want(self, users: Iterable[str]) -> None:
        """Whoever came into a circle by its second reading was not looked at yet."""
        new = [user for user in users if user not in self._shown]
        if new:
            self._work.users.update(new)
            self._anything.set()

    def _note_due(self, here: dict[str, Here], found: Difference) -> None:
        now = monotonic()
        for user, one in here.items():
            seconds = found.due.get(user, one.text_left)
            self._due.note(user, None if seconds is None else now + seconds)

    # Trouble

    def _failed(self, work: Work) -> None:
        """A look failed, mostly for want of the database: who asked is told, the rest waits, then all are looked at."""
        for link, frame in work.asked:
            link.session.decline(frame, Refusal.DATABASE_UNAVAILABLE)
            link.wake()
        work.asked.clear()
        self._work.add(work)
        self._pass = list({*self._circles.users, *self._people.users})
        self._passed.clear()
        if not self.stale:
            self._say_stale(stale=True)

    def _pass_on(self, users: Iterable[str]) -> None:
        """These were looked at; after the last one of a pass nothing is stale."""
        if self._pass is None:
            return
        done = set(users)
        self._pass = [user for user in self._pass if user not in done]
        if not self._pass:
            self._pass = None
            self._passed.set()
            if self.stale:
                self._say_stale(stale=False)

    def _say_stale(self, *, stale: bool) -> None:
        self.stale = stale
        metrics.presence_stale.set(int(stale))
        showing = Showing(self._circles, self._shown, self._own)
        for link in self._people.links:
            showing.touch(link)
        showing.offer(stale=stale)

    async def leases(self) -> dict[str, float]:
        """The processes whose lease lasts, and for how many seconds. Raises psycopg.Error; all is stale then."""
        try:
            return await self._reader.live_nodes()
        except psycopg.Error:
            self._failed(Work())
            self._anything.set()
            raise

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.close()
        await self._circle_reader.close()
