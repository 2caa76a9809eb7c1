"""One batch of writes as one transaction on a connection of its own.

The SQL function `messaging_append` locks, judges, numbers and writes; here its input is built and
its answer read. Every error leaves the connection closed or idle, so the same batch can be run
again: that is also how a commit of unknown outcome is settled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg.errors import ReadOnlySqlTransaction

from messaging import metrics
from messaging.protocol.errors import Refused
from messaging.protocol.frames import Delete, Edit, Message, Send
from messaging.protocol.server.actions import Stored, Write
from presence import database

STATEMENT_TIMEOUT_MS = 10_000
IDLE_TIMEOUT_MS = 5_000

# One round trip, the simple query protocol; the answer counts only with the tag COMMIT behind it.
APPEND = (
    "BEGIN; SELECT messaging_append("
    "%s::uuid[], %s::uuid[], %s::uuid[], %s::json, %s, %s::uuid[])::text; COMMIT"
)

PLACES = """
SELECT asked.id::text, m.conversation_id::text FROM unnest(%s::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (SELECT x.conversation_id FROM messaging_message x WHERE x.id = asked.id LIMIT 1) m
"""

Settle = Callable[[Stored | Refused], None]


class Entry(NamedTuple):
    """A write that waits for its commit, and whom to tell. `size` is in bytes of memory.

    One `in_doubt` may have been committed by a try that broke, without being announced.
    """

    device: str
    frame: Write
    settle: Settle
    size: int
    in_doubt: bool = False
    number: int = 0  # of the write, in this process
    since: float = 0.0  # when it was put, by the monotonic clock


class Operation(msgspec.Struct, omit_defaults=True):
    """A write as `messaging_append` reads it."""

    n: int
    verb: str
    device: str
    client_id: str
    conversation: str | None = None
    message: str | None = None
    base_version: int | None = None
    kind: str | None = None
    body: str | None = None
    reply_to: str | None = None
    fingerprint: str | None = None
    attachments: str | None = None  # an array's text


class Outcome(NamedTuple):
    """What `messaging_append` says of one operation; `row` is the whole message where it changed, conflicts or has files."""

    n: int
    verdict: str
    message: str | None
    seq: int | None
    position: int | None
    version: int | None
    created: int | None
    conversation: str | None
    user: str | None
    row: Message | None


class CommitUnknown(psycopg.OperationalError):
    """The answer to COMMIT was not COMMIT."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Outcome]).decode


class Writer:
    """Appends batches through one connection, opened on first use and again after it broke."""

    def __init__(self, name: str, *, lock_timeout_ms: int) -> None:
        self._name, self._lock_timeout_ms = name, lock_timeout_ms
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def append(self, entries: Sequence[Entry], *, skip_locked: bool = False) -> list[Outcome]:
        """Commit the entries in their order; one outcome each.

        Raises psycopg.Error: nothing of the batch is committed, or, for a lost connection, it is unknown.
        """
        connection = await self._connected()
        try:
            with metrics.timed("append"), database.deadline(connection, STATEMENT_TIMEOUT_MS):
                return await self._append(connection, entries, skip_locked=skip_locked)
        except ReadOnlySqlTransaction as error:  # a former primary: no fault of a message
            await connection.close()
            raise psycopg.OperationalError("this server takes no writes") from error
        except BaseException:
            await self._recover(connection)
            raise

    async def places(self, messages: Iterable[str]) -> dict[str, str]:
        """The conversations of those of these messages that exist. Raises psycopg.Error."""
        connection = await self._connected()
        with database.deadline(connection, STATEMENT_TIMEOUT_MS):
            cursor = await connection.execute(PLACES, (list(messages),))
            return dict(await cursor.fetchall())

    async def _append(
        self,
        connection: psycopg.AsyncConnection[Any],
        entries: Sequence[Entry],
        *,
        skip_locked: bool,
    ) -> list[Outcome]:
        operations = [operation(n, entry) for n, entry in enumerate(entries)]
        cursor = psycopg.AsyncClientCursor(connection)
        conversations = {o.conversation for o in operations if o.conversation}
        devices = {o.device for o in operations}
        messages = {o.message for o in operations if o.message}
        files = {file for entry in entries for file in getattr(entry.frame, "attachments", ())}
        await cursor.execute(
            APPEND,
            (
                _array(conversations),
                _array(messages),
                _array(devices),
                _encode(operations).decode(),
                skip_locked,
                _array(files),
            ),
        )
        cursor.nextset()
        row = await cursor.fetchone()
        cursor.nextset()
        if row is None or cursor.statusmessage != "COMMIT":
            raise CommitUnknown(f"the batch ended with {cursor.statusmessage}, not COMMIT")
        return _decode(row[0])

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await database.connect(
                self._name,
                lockstep__writer="journal",
                lock_timeout=self._lock_timeout_ms,
                statement_timeout=STATEMENT_TIMEOUT_MS,
                idle_in_transaction_session_timeout=IDLE_TIMEOUT_MS,
                synchronous_commit="on",
                default_transaction_isolation="read\\ committed",
                enable_seqscan="off",  # plans are cached while tables are small; they grow
                plan_cache_mode="force_generic_plan",  # planning this statement costs more than one row
                jit="off",
            )
        return self._connection

    async def _recover(self, connection: psycopg.AsyncConnection[Any]) -> None:
        try:
            if not connection.closed:
                with database.deadline(connection, STATEMENT_TIMEOUT_MS):
                    await connection.execute("ROLLBACK")
        except psycopg.Error:
            await connection.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()


def operation(n: int, entry: Entry) -> Operation:
    """The entry as the SQL function reads it."""
    frame = entry.frame
    if isinstance(frame, Send):
        return Operation(
            n=n,
            verb="append",
            device=entry.device,
            client_id=frame.client_id,
            conversation=frame.conversation,
            kind=frame.kind,
            body=frame.body,
            reply_to=frame.reply_to,
            fingerprint=fingerprint(frame),
            attachments=_array(frame.attachments) if frame.attachments else None,
        )
    return Operation(
        n=n,
        verb="amend" if isinstance(frame, Edit) else "remove",
        device=entry.device,
        client_id=frame.client_id,
        message=frame.message,
        base_version=frame.base_version,
        body=frame.body if isinstance(frame, Edit) else None,
    )


def fingerprint(frame: Send) -> str:
    """A digest of what the client said (16 bytes in hex), to tell a repeat from another message under the same key."""
    parts = (frame.conversation, frame.kind, frame.reply_to or "", frame.body, *frame.attachments)
    content = "\x00".join(parts)  # none of the parts holds a NUL
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def target(frame: Write) -> str:
    """What a write must not share with another of the same batch: a changed message."""
    return frame.message if isinstance(frame, (Edit, Delete)) else ""


def _array(ids: Iterable[str]) -> str:
    return "{" + ",".join(ids) + "}"
