"""Reads of the change feed and of standings, for all sessions of this process on one connection each.

Whatever is asked for until the connection is free is one statement. A page and the conversation's
`last_seq` come from one snapshot, so a page tells how far it reaches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec
import psycopg

from messaging import metrics
from messaging.protocol.frames import DeviceMark, MarkSummary
from messaging.protocol.server.actions import Standing
from messaging.protocol.server.batch import Batch, Fence
from presence import database
from presence.roster import with_users

logger = logging.getLogger(__name__)

PAGE_BYTES = 65_536  # of bodies and files' names; the message that passes it is the last, so a page has at most twice that
PAGE = 200  # messages; at about 200 bytes each a page is 40 KiB
# Those who were cut off in one moment lack nearly the same: who asks for so many changes less than another
# gets the other's page. Read for each, sixty who came back to a busy process waited for each other for 20 s.
NEAR = PAGE // 2
AT_ONCE = 32  # pages in one statement, about a megabyte
STATEMENT_TIMEOUT_MS = 10_000

Key: TypeAlias = tuple[str, int]
"""A conversation, and the change after which to read."""

FEED = """
SELECT c.id::text, asked.since, c.last_seq, page.fetched, page.count, page.upto, page.oldest, page.messages, page.fences,
       c.purged_seq
  FROM unnest(%s::uuid[], %s::bigint[]) AS asked (conversation, since)
  JOIN messaging_conversation c ON c.id = asked.conversation
 CROSS JOIN LATERAL (
    SELECT count(*) AS fetched, count(*) FILTER (WHERE m.fits) AS count,
           max(m.seq) FILTER (WHERE m.fits) AS upto, min(m.position) FILTER (WHERE m.fits) AS oldest,
           concat('[', string_agg(messaging_wire(m.id, m.seq, m.position, m.kind, m.body, m.version, m.created,
                  m.device_id, d.user_id, m.client_id, m.reply_to_id, m.edited, m.deleted, m.attachments), ',' ORDER BY m.seq)
                  FILTER (WHERE m.fits), ']') AS messages,
           json_agg(json_build_array(m.body::json->>'user', m.seq) ORDER BY m.seq)
               FILTER (WHERE m.fits AND m.kind = 'system' AND m.body::json->>'event' = 'left')::text AS fences
      FROM (SELECT x.*, sum(x.bytes) OVER (ORDER BY x.seq) - x.bytes < %s AS fits
              FROM (SELECT *, octet_length(y.body) + coalesce(octet_length(y.attachments::text), 0) AS bytes
                      FROM messaging_message y
                     WHERE y.conversation_id = asked.conversation AND y.seq > asked.since
                     ORDER BY y.seq LIMIT %s) x) m
      LEFT JOIN LATERAL (SELECT x.user_id FROM presence_device x WHERE x.id = m.device_id LIMIT 1) d ON true) page
"""

STANDINGS = """
SELECT DISTINCT ON (s.conversation_id)
       s.conversation_id::text, c.kind, c.title, c.last_seq, s.joined_seq, s.left_seq,
       c.history = 'since_joined', r.delivered, coalesce(r.read, 0), c.purged_seq
  FROM messaging_membership s
  JOIN messaging_conversation c ON c.id = s.conversation_id
  LEFT JOIN messaging_receipt r ON r.conversation_id = s.conversation_id AND r.device_id = %s
 WHERE s.user_id = %s
 ORDER BY s.conversation_id, s.left_seq DESC NULLS FIRST
"""

LAST_SEQS = "SELECT id::text, last_seq FROM messaging_conversation WHERE id = ANY (%s::uuid[])"
ADMITTED = """
SELECT coalesce(i.version, 0)
  FROM presence_device d
  JOIN {users} u ON u.id = d.user_id AND u.is_active
  LEFT JOIN messaging_inbox i ON i.user_id = d.user_id
 WHERE d.id = %s AND d.revoked IS NULL
"""
INBOXES = "SELECT user_id::text, version FROM messaging_inbox WHERE user_id = ANY (%s::uuid[])"
MARKS = """
SELECT r.conversation_id::text, r.device_id::text, d.user_id::text, r.delivered, r.read,
       (extract(epoch FROM r.delivered_at) * 1000)::bigint, (extract(epoch FROM r.read_at) * 1000)::bigint
  FROM messaging_receipt r
  JOIN presence_device d ON d.id = r.device_id AND d.revoked IS NULL
 WHERE r.conversation_id = ANY (%s::uuid[]) AND r.changed >= now() - make_interval(secs => %s)
   AND EXISTS (SELECT FROM messaging_membership s WHERE s.conversation_id = r.conversation_id
                  AND s.user_id = d.user_id AND s.left_seq IS NULL)
"""
SUMMARIES = """
SELECT c.id::text, c.last_seq, count(d.id), count(*) FILTER (WHERE r.delivered >= c.last_seq),
       count(*) FILTER (WHERE r.read >= c.last_seq), coalesce(min(coalesce(r.delivered, 0)), 0),
       coalesce(min(coalesce(r.read, 0)), 0)
  FROM messaging_conversation c
  JOIN messaging_membership s ON s.conversation_id = c.id AND s.left_seq IS NULL
  JOIN presence_device d ON d.user_id = s.user_id AND d.revoked IS NULL
  LEFT JOIN messaging_receipt r ON r.conversation_id = c.id AND r.device_id = d.id
 WHERE c.id = ANY (%s::uuid[]) GROUP BY c.id
"""
EPOCH = "SELECT value::text FROM messaging_epoch"
BEGIN_EPOCH = "INSERT INTO messaging_epoch DEFAULT VALUES ON CONFLICT DO NOTHING RETURNING id"

AWAY = (psycopg.OperationalError, psycopg.InterfaceError)
# Classes of SQLSTATE that psycopg counts among these, but are of what is read: it passes a limit, its disk can't give it.
OF_WHAT_IS_READ = ("54", "58")

_decode_fences = msgspec.json.Decoder(list[Fence]).decode


class FeedReader:
    """A reading connection of the process. Every method raises psycopg.Error when the database is away."""

    def __init__(self, application: str = "lockstep feed") -> None:
        self._application = application
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()
        self._closed = False
        self._asked: dict[Key, asyncio.Future[Batch | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._unreadable: set[str] = set()  # conversations that the log names

    async def page(self, conversation: str, since: int) -> Batch | None:
        """The changes after `since`, at most PAGE of them; None if there is no such conversation, or it can't be read.

        It may begin before `since`, by NEAR at most, when somebody asks for that at the same time.
        """
        key, loop = (conversation, since), asyncio.get_running_loop()
        future = self._asked.get(key)
        if future is None:
            future = self._asked[key] = loop.create_future()
            if self._reading is None or self._reading.done():
                self._reading = loop.create_task(self._read_all())
        return await asyncio.shield(future)

    async def _read_all(self) -> None:
        while self._asked:
            asked = {key: self._asked.pop(key) for key in list(self._asked)[:AT_ONCE]}
            try:
                await self._read_apart(asked)
            except BaseException:
                _fail({**asked, **self._asked}, asyncio.CancelledError())
                raise

    async def _read_apart(self, asked: dict[Key, asyncio.Future[Batch | None]]) -> None:
        """Read these in one statement, or each alone if one of them can't be read: it keeps nobody from theirs."""
        try:
            await self._read(asked)
        except Exception as error:
            if _is_away(error):  # those who asked are told
                _fail(asked, error)
            elif len(asked) > 1:
                for key, future in asked.items():
                    await self._read_apart({key: future})
            else:
                [(key, future)] = asked.items()
                self._give_up(key, future, error)

    def _give_up(self, key: Key, future: asyncio.Future[Batch | None], error: Exception) -> None:
        """A row of the conversation is damaged: say so once; its devices wait until it is mended."""
        if key[0] not in self._unreadable:
            self._unreadable.add(key[0])
            said = "conversation %s can't be read from change %d on, its devices wait: %s"
            why = str(error).partition("\n")[0]  # the other lines quote what people wrote
            logger.error(said, *key, why, extra={"conversation": key[0]})
        if not future.done():
            future.set_result(None)

    async def _read(self, asked: dict[Key, asyncio.Future[Batch | None]]) -> None:
        first = _firsts(asked)
        pages = await self.pages(list(dict.fromkeys(first.values())), limit=PAGE)
        beyond = [key for key in asked if not _reaches(pages.get(first[key]), key)]
        if beyond:  # large messages: the page of the first ends before
            pages |= await self.pages(beyond, limit=PAGE)
        for key, future in asked.items():
            if not future.done():
                future.set_result(pages.get(key, pages.get(first[key])))

    async def pages(self, pairs: Sequence[Key], *, limit: int) -> dict[Key, Batch]:
        """The pages of many (conversation, since) pairs, one snapshot for all."""
        rows = await self._fetch(
            FEED, ([p[0] for p in pairs], [p[1] for p in pairs], PAGE_BYTES, limit)
        )
        return {(row[0], row[1]): _batch(row, limit) for row in rows}

    async def standings(self, *, device: str, user: str) -> list[Standing]:
        """The user's newest stay in each conversation, with the device's stored marks."""
        rows = await self._fetch(STANDINGS, (device, user))
        return [
            Standing(
                conversation=row[0],
                kind=row[1],
                title=row[2],
                last_seq=row[3],
                joined_seq=row[4],
                left_seq=row[5],
                since_joined=row[6],
                delivered=row[7],
                read=row[8],
                purged=row[9],
            )
            for row in rows
        ]

    async def last_seqs(self, conversations: Iterable[str]) -> dict[str, int]:
        """The newest change number of each conversation."""
        return dict(await self._fetch(LAST_SEQS, (list(conversations),)))

    async def admitted(self, device: str) -> int | None:
        """The inbox version of the device's user; None if the device is revoked or the user not active."""
        rows = await self._fetch(with_users(ADMITTED), (device,))
        return int(rows[0][0]) if rows else None

    async def inbox_versions(self, users: Iterable[str]) -> dict[str, int]:
        """How often memberships or devices of each user changed."""
        return dict(await self._fetch(INBOXES, (list(users),)))

    async def marks(
        self, conversations: Iterable[str], *, seconds: float
    ) -> dict[str, list[DeviceMark]]:
        """The marks stored within the last `seconds`, by conversation."""
        found: dict[str, list[DeviceMark]] = {}
        for conversation, device, user, delivered, read, delivered_at, read_at in await self._fetch(
            MARKS, (list(conversations), seconds)
        ):
            mark = DeviceMark(
                device=device,
                user=user,
                delivered=delivered,
                read=read,
                delivered_at=delivered_at,
                read_at=read_at,
            )
            found.setdefault(conversation, []).append(mark)
        return found

    async def summaries(self, conversations: Iterable[str]) -> dict[str, MarkSummary]:
        """How many devices of each conversation have everything, and the lowest marks."""
        rows = await self._fetch(SUMMARIES, (list(conversations),))
        return {
            row[0]: MarkSummary(
                last_seq=row[1],
                devices=row[2],
                delivered=row[3],
                read=row[4],
                lowest_delivered=row[5],
                lowest_read=row[6],
            )
            for row in rows
        }

    async def epoch(self) -> str:
        """The life of this database; one that was restored from a backup without an epoch begins a new one."""
        while not (rows := await self._fetch(EPOCH, ())):
            await self._fetch(BEGIN_EPOCH, ())
        return str(rows[0][0])

    async def _fetch(self, statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        async with self._lock:
            if not self._closed and (self._connection is None or self._connection.closed):
                self._connection = await database.connect(
                    self._application, statement_timeout=STATEMENT_TIMEOUT_MS, enable_seqscan="off"
                )
            if self._closed or self._connection is None:
                if self._connection is not None:
                    await self._connection.close()
                raise psycopg.OperationalError("the reader is closed")
            with (
                metrics.timed("feed"),
                database.deadline(self._connection, STATEMENT_TIMEOUT_MS),
            ):
                cursor = await self._connection.execute(statement.encode(), parameters)
                return await cursor.fetchall()

    async def close(self) -> None:
        """Close the connection; whoever still asks gets psycopg.OperationalError, not a new one."""
        self._closed = True
        if self._connection is not None:
            await database.close(self._connection, self._lock)


def _batch(row: tuple[Any, ...], limit: int) -> Batch:
    conversation, since, last_seq, fetched, count, upto, oldest, messages, fences, purged = row
    cut = fetched == limit or count < fetched
    return Batch(
        conversation=conversation,
        since=since,
        upto=upto if cut else max(last_seq, since),
        json=messages.encode(),
        count=count,
        oldest=oldest if oldest is not None else last_seq,
        fences=tuple(_decode_fences(fences)) if fences else (),
        cut=cut,
        purged=purged,
    )


def _firsts(asked: Iterable[Key]) -> dict[Key, Key]:
    """For each the one whose page it gets: the first of its conversation that is near."""
    found: dict[Key, Key] = {}
    first = ("", 0)
    for key in sorted(asked):
        if key[0] != first[0] or key[1] - first[1] > NEAR:
            first = key
        found[key] = first
    return found


def _reaches(page: Batch | None, key: Key) -> bool:
    """Whether the page has what is asked for; None is the answer of all who ask for the conversation."""
    return page is None or not page.cut or page.upto > key[1]


def _is_away(error: Exception) -> bool:
    """Whether it is the database that can't be reached, and no fault of what is read."""
    return isinstance(error, AWAY) and (error.sqlstate or "")[:2] not in OF_WHAT_IS_READ


def _fail(asked: dict[Key, asyncio.Future[Batch | None]], error: BaseException) -> None:
    for future in asked.values():
        if not future.done():
            future.set_exception(error)
            future.exception()  # whoever still waits sees it; nobody waiting is no error
