"""The users with sessions in this process: who may open one, what they take part in, who is revoked.

Laws: a session is listed here before its standings are read, so that no change falls in between; and
nobody comes in on what was read before this process last lost its lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import psycopg

from messaging.hub.feed import FeedReader
from messaging.hub.topic import Link
from messaging.protocol.errors import CloseCode
from messaging.protocol.server.actions import Identity, Standing
from presence.roster import Roster

logger = logging.getLogger(__name__)

HINTS_S = 0.02  # for more hints of the same statement
DISCONNECTED_MS = 1_000  # before a session that somebody ended comes back


@dataclass(slots=True)
class Person:
    """A user with sessions here, and the inbox version that these sessions reflect."""

    links: set[Link] = field(default_factory=set)
    version: int = 0


class People:
    """Whose sessions these are. `on_standing` is called for memberships that are news, then `on_refreshed` with all of them."""

    def __init__(
        self,
        *,
        feed: FeedReader,
        roster: Roster,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        check_all: asyncio.Event,
        on_standing: Callable[[Link, Standing], None],
        on_refreshed: Callable[[Link, list[str]], None],
    ) -> None:
        self._feed, self._roster = feed, roster
        self._spawn, self._check_all = spawn, check_all
        self._on_standing, self._on_refreshed = on_standing, on_refreshed
        self._people: dict[str, Person] = {}
        self._hinted: dict[str, bool] = {}  # being refreshed; whether a hint came since that began
        self._renewals = 0  # of a lease that had lapsed
        self._missing_asked = False

    @property
    def users(self) -> list[str]:
        """Everyone with sessions here."""
        return list(self._people)

    def __contains__(self, user: object) -> bool:
        return user in self._people

    def links_of(self, user: str) -> list[Link]:
        """The open sessions of a user."""
        person = self._people.get(user, Person())
        return [link for link in person.links if link.session.identity is not None]

    @property
    def links(self) -> list[Link]:
        """All sessions, those too that are still being opened."""
        return [link for person in self._people.values() for link in person.links]

    async def admit(self, link: Link, identity: Identity) -> list[Standing] | None:
        """List the session and read what its user takes part in; None if the device is revoked.

        Raises psycopg.Error when the database is away; the session is not listed then.
        """
        person = self._people.setdefault(identity.user, Person())
        person.links.add(link)
        try:
            version, standings = await self._read(identity)
        except BaseException:
            self.forget(link, identity.user)
            raise
        if version is None:
            self.forget(link, identity.user)
            return None
        self._note_version(identity.user, person, version)
        return standings

    async def _read(self, identity: Identity) -> tuple[int | None, list[Standing]]:
        """The inbox version, None if revoked, and the standings, both later than the last lapse of the lease.

        While the lease is lapsed a revocation waits for nobody, and a session that is still being
        opened is not among those that are closed when it holds again.
        """
        while True:
            renewals = self._renewals
            version = await self._feed.admitted(identity.device)
            standings = await self._feed.standings(device=identity.device, user=identity.user)
            if renewals == self._renewals:
                return version, standings

    def _note_version(self, user: str, person: Person, version: int) -> None:
        """The new session reflects this inbox version; it or older ones of the user may have missed a hint."""
        if person.version not in (0, version):
            self.hint(user)
        if len(person.links) == 1:
            person.version = version

    def forget(self, link: Link, user: str) -> None:
        """A session is over."""
        person = self._people.get(user)
        if person is not None:
            person.links.discard(link)
            if not person.links:
                del self._people[user]

    def hint(self, user: str) -> None:
        """Memberships or devices of a user may have changed."""
        if user in self._people:
            if user not in self._hinted:
                self._spawn(self._follow(user))
            self._hinted[user] = True

    async def _follow(self, user: str) -> None:
        """Refresh a user: one reader, however many hints there are, for each reads all that they take part in."""
        try:
            while self._hinted.get(user):
                self._hinted[user] = False
                await self._refresh(user)
        finally:
            del self._hinted[user]

    async def check(self, users: list[str]) -> None:
        """Compare inbox versions with the database and refresh whoever differs. Raises psycopg.Error."""
        for user, version in (await self._feed.inbox_versions(users)).items():
            person = self._people.get(user)
            if person is not None and version > person.version:
                await self._refresh(user)

    async def _refresh(self, user: str) -> None:
        """Memberships or devices of a user changed: close revoked sessions, start new feeds."""
        person = self._people.get(user)
        if person is None:
            return
        links = [link for link in person.links if link.session.identity is not None]
        try:
            versions = await self._feed.inbox_versions([user])
            revoked = await self._roster.revoked([_identity(link).device for link in links])
            for link in links:
                if _identity(link).device in revoked:
                    _close_revoked(link)
                else:
                    await self._refresh_standings(link)
        except psycopg.Error as error:
            logger.debug("the inbox can't be read now: %s", error)
            self._check_all.set()
            return
        if any(link.session.identity and link not in links for link in person.links):
            self.hint(user)  # opened meanwhile, from what may be older
        else:
            person.version = max(person.version, versions.get(user, 0))

    async def _refresh_standings(self, link: Link) -> None:
        identity = _identity(link)
        joined = []
        for standing in await self._feed.standings(device=identity.device, user=identity.user):
            if link not in self._people.get(identity.user, Person()).links:
                return
            if link.session.join(standing):
                self._on_standing(link, standing)
                joined.append(standing.conversation)
        self._on_refreshed(link, joined)

    def hint_missing(self, user: str) -> None:
        """Sessions of a user may have been ended from outside."""
        if user in self._people and not self._missing_asked:
            self._missing_asked = True
            self._spawn(self._find_missing())

    async def _find_missing(self) -> None:
        await asyncio.sleep(HINTS_S)
        self._missing_asked = False
        try:
            await self.check_missing()
        except psycopg.Error as error:
            logger.debug("ended sessions can't be found now: %s", error)  # the next pass does

    async def check_missing(self) -> None:
        """Close the sessions that somebody asked to end, or whose rows were deleted. Raises psycopg.Error."""
        missing = await self._roster.missing() if self._people else set()
        for link in self.links if missing else ():
            identity = link.session.identity
            if identity is not None and identity.session in missing:
                link.session.close(CloseCode.DISCONNECTED, reconnect_after=DISCONNECTED_MS)
                link.wake()

    async def lease_renewed(self) -> None:
        """The lease had lapsed: before anything is sent again, sessions of devices revoked meanwhile are closed.

        Removed members need no look: their fence is in the feed. Raises psycopg.Error; then nothing is sent yet.
        """
        self._renewals += 1
        opened = [link for link in self.links if link.session.identity is not None]
        revoked = await self._roster.revoked(list({_identity(link).device for link in opened}))
        for link in opened:
            if _identity(link).device in revoked:
                _close_revoked(link)


def _identity(link: Link) -> Identity:
    assert link.session.identity is not None
    return link.session.identity


def _close_revoked(link: Link) -> None:
    link.session.close(CloseCode.REVOKED, discard=True)
    link.wake()
