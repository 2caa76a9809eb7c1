"""Who may see whom here: circles of users, each seen by the sessions in it. Pure, but for `CircleReader`.

A circle is a small conversation, whose members see each other, or the watch list of one session. It
holds the inbox version of everyone in it as of when it was read. The version moves with each of a
user's memberships, so a circle whose versions are still those of the database is right, and presence
that was read before they were compared is shown to no former member.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from messaging import conf, metrics
from messaging.hub.topic import Link
from presence.line import Line

Key: TypeAlias = "str | Link"
"""A conversation's id, or the session whose watch list it is."""
Members: TypeAlias = dict[str, int]
"""Users and their inbox versions."""
WatchList: TypeAlias = tuple[Link, tuple[str, ...]]
"""A session, and whom it watches: its own user first."""

STATEMENT_TIMEOUT_MS = 3_000  # older news is no news
PAIRS = 2_000  # of viewers and whom they watch, in one statement: some dozens of milliseconds

# Looks at no more members than decide whether a conversation is small.
MEMBERS = """
SELECT asked.id::text, found.users, found.versions
  FROM unnest(%s::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (
    SELECT array_agg(s.user_id::text) AS users, array_agg(coalesce(i.version, 0)) AS versions
      FROM (SELECT m.user_id FROM messaging_membership m
             WHERE m.conversation_id = asked.id AND m.left_seq IS NULL LIMIT %s) s
      LEFT JOIN messaging_inbox i ON i.user_id = s.user_id) found
 WHERE cardinality(found.users) <= %s
"""
# Of these pairs those who share a conversation; of somebody and themselves: who is in any. Each is looked up
# in the viewer's conversations, one index entry after the other: they may have thousands of members.
SHARED = """
WITH asked AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS a (viewer, id)),
     place AS MATERIALIZED (
         SELECT v.viewer, mine.ids FROM (SELECT DISTINCT viewer FROM asked) v
          CROSS JOIN LATERAL (SELECT array_agg(m.conversation_id) AS ids FROM messaging_membership m
                               WHERE m.user_id = v.viewer AND m.left_seq IS NULL) mine)
SELECT asked.viewer::text, asked.id::text, coalesce(i.version, 0)
  FROM asked JOIN place ON place.viewer = asked.viewer
  LEFT JOIN messaging_inbox i ON i.user_id = asked.id
 WHERE EXISTS (SELECT FROM unnest(place.ids) AS c (id)
                CROSS JOIN LATERAL (SELECT FROM messaging_membership x
                                     WHERE x.conversation_id = c.id AND x.user_id = asked.id
                                       AND x.left_seq IS NULL LIMIT 1) there)
"""
VERSIONS = "SELECT user_id::text, version FROM messaging_inbox WHERE user_id = ANY (%s::uuid[])"


def user_of(link: Link) -> str:
    """Whose session it is; "" before it is open."""
    return link.session.identity.user if link.session.identity is not None else ""


@dataclass(slots=True, eq=False, kw_only=True)
class Circle:
    """Users who may see each other, as of the last reading, and the sessions here that are in it.

    `asked` is the watch list of a session; None of a conversation.
    """

    key: Key
    links: set[Link]
    asked: tuple[str, ...] | None = None
    members: Members = field(default_factory=dict)


class Change(NamedTuple):
    """What a new reading of a circle brought: who came, and who is in it no more."""

    circle: Circle
    came: set[str]
    went: set[str]


class Circles:
    """All circles of this process."""

    def __init__(self) -> None:
        self._circles: dict[Key, Circle] = {}
        self._places: dict[str, set[Circle]] = {}

    def __contains__(self, user: object) -> bool:
        return user in self._places

    @property
    def users(self) -> list[str]:
        """Everyone in any circle."""
        return list(self._places)

    def get(self, key: Key) -> Circle | None:
        """The circle of a conversation or watch list."""
        return self._circles.get(key)

    def open(self, key: Key, links: set[Link], *, asked: tuple[str, ...] | None = None) -> Circle:
        """The circle, made now if need be; it is empty until it is read."""
        circle = self._circles.setdefault(key, Circle(key=key, links=links))
        circle.asked = asked
        return circle

    def drop(self, key: Key) -> set[str]:
        """Forget a circle; who is in no other."""
        circle = self._circles.pop(key, None)
        if circle is None:
            return set()
        return self._leave(circle, circle.members)

    def put(self, key: Key, members: Members) -> Change | None:
        """Take a reading; None if the circle is gone."""
        circle = self._circles.get(key)
        if circle is None:
            return None
        came, went = members.keys() - circle.members.keys(), circle.members.keys() - members.keys()
        for user in came:
            self._places.setdefault(user, set()).add(circle)
        self._leave(circle, went)
        circle.members = members
        return Change(circle, came, went)

    def _leave(self, circle: Circle, users: Iterable[str]) -> set[str]:
        alone = set()
        for user in users:
            self._places[user].discard(circle)
            if not self._places[user]:
                del self._places[user]
                alone.add(user)
        return alone

    def viewers(self, user: str) -> set[Link]:
        """The sessions here that may see this user, the own ones left out."""
        return {
            link
            for circle in self._places.get(user, ())
            for link in circle.links
            if (viewer := user_of(link)) != user and viewer in circle.members
        }

    def sees(self, link: Link, user: str, *, other_than: Circle) -> bool:
        """Whether the session may see this user in another circle than this one."""
        viewer = user_of(link)
        return any(
            circle is not other_than and link in circle.links and viewer in circle.members
            for circle in self._places.get(user, ())
        )

    def outdated(self, versions: Mapping[str, int]) -> set[Key]:
        """The circles that are older than these inbox versions."""
        return {
            circle.key
            for user, version in versions.items()
            for circle in self._places.get(user, ())
            if circle.members[user] != version
        }

    def lists(self, keys: Iterable[Key]) -> Iterator[WatchList]:
        """The watch lists among these, each with its session's own user."""
        for key in keys:
            circle = self._circles.get(key)
            if not isinstance(key, str) and circle is not None:
                yield key, (user_of(key), *(circle.asked or ()))


class CircleReader:
    """Reads circles from the database. Every method raises psycopg.Error when that is away."""

    def __init__(self) -> None:
        self._line = Line("lockstep circles", timeout_ms=STATEMENT_TIMEOUT_MS, enable_seqscan="off")
        self._most = conf.current().presence_members

    async def conversations(self, ids: Collection[str]) -> dict[Key, Members]:
        """The members of each conversation; of a large one, nobody."""
        found: dict[Key, Members] = {conversation: {} for conversation in ids}
        if ids and self._most > 0:
            with metrics.timed("circles"):
                rows = await self._line.ask(MEMBERS, (list(ids), self._most + 1, self._most))
            found.update((row[0], dict(zip(row[1], row[2], strict=True))) for row in rows)
        return found

    async def watch_lists(self, lists: Iterable[WatchList]) -> dict[Key, Members]:
        """Whom of its list each session may see, its own user among them."""
        found: dict[Key, Members] = {}
        for some in _slices(lists):
            pairs = {(user_of(link), user) for link, users in some for user in users}
            with metrics.timed("circles"):
                rows = await self._line.ask(SHARED, tuple(map(list, zip(*pairs, strict=True))))
            seen = {(viewer, user): version for viewer, user, version in rows}
            for link, users in some:
                viewer = user_of(link)
                found[link] = {user: seen[viewer, user] for user in users if (viewer, user) in seen}
        return found

    async def versions(self, users: Collection[str]) -> Members:
        """The inbox versions of now."""
        found = dict.fromkeys(users, 0)
        if users:
            with metrics.timed("circles"):
                found.update(await self._line.ask(VERSIONS, (list(users),)))
        return found

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()


def _slices(lists: Iterable[WatchList]) -> Iterator[list[WatchList]]:
    """Whole lists, some of which have PAIRS users together: after a storm everyone says theirs again."""
    some: list[WatchList] = []
    pairs = 0
    for one in lists:
        some.append(one)
        pairs += len(one[1])
        if pairs >= PAIRS:
            yield some
            some, pairs = [], 0
    if some:
        yield some
