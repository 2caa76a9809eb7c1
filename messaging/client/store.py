"""What a client keeps: its outbox, its cursors and its copy of the messages, in SQLite.

SQLite because one transaction moves a cursor *and* stores what it covers: a process that is killed
has both or neither. With a path it is a file that survives `kill -9` and, as every commit is
synced, a power cut; without one it lives in memory. Every method blocks; one thread calls them all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from messaging.protocol import LockstepError, Saved
from messaging.protocol.client.happenings import Applied, Request
from messaging.protocol.frames import Message

VERSION = 1  # of the tables below
SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, client_id TEXT UNIQUE, conversation TEXT, request BLOB
);
CREATE TABLE IF NOT EXISTS conversation (
    id TEXT PRIMARY KEY, cursor INTEGER, read INTEGER, gone INTEGER, unsettled INTEGER,
    taken INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS message (
    id TEXT PRIMARY KEY, conversation TEXT, seq INTEGER, position INTEGER, message BLOB
);
CREATE INDEX IF NOT EXISTS message_position ON message (conversation, position);
CREATE INDEX IF NOT EXISTS message_seq ON message (conversation, seq);
"""


class StoreError(LockstepError):
    """A store's file that can't be used, or not any more."""


MENDS = {  # by a word of SQLite's
    "locked": "is another client using it?",
    "full": "make room on its disk.",
    "readonly": "let this user write it.",
}


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say in one line what SQLite can't do, and the mend. Raises `StoreError`."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a mistake of ours, which no file can mend
    except sqlite3.Error as error:
        mends = (mend for word, mend in MENDS.items() if word in str(error))
        mend = next(mends, "choose another file.")
        raise StoreError(f"{name} can't be used as a store: {error}; {mend}") from error


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A conversation's row: cursor, greatest read mark, end of the stay, and whether the server may lack the marks."""

    conversation: str
    cursor: int | None
    read: int
    left: int | None
    unsettled: bool


@dataclass(kw_only=True)
class Changes:
    """What is to be written in one transaction."""

    facts: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Request]] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    started: dict[str, int] = field(default_factory=dict)  # conversation -> where its feed starts
    standings: list[Standing] = field(default_factory=list)
    messages: list[tuple[str, Message]] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(vars(self).values())


class Store:
    """One device's store; one process at a time."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = path
        self._name = str(path) if path is not None else ":memory:"
        if path is not None:
            with suppress(OSError):  # SQLite says why
                Path(path).touch(mode=0o600)  # what people wrote is nobody else's to read
        with _told(self._name):
            self._open()
        self._encode = msgspec.json.Encoder().encode
        self._request = msgspec.json.Decoder(Request)
        self._message = msgspec.json.Decoder(Message)

    def _open(self) -> None:
        # isolation_level None: transactions begin where we say so.
        self._db = sqlite3.connect(
            self._name, isolation_level=None, check_same_thread=False, timeout=1
        )
        # Exclusive: a second process with the same cursors would take half of the messages.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise StoreError(f"{self._name} was written by another version of Lockstep ({found}).")
        for statement in SCHEMA.split(";"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {VERSION}")
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    def installation(self) -> str:
        """What names this installation to the server, made once. Raises `StoreError`."""
        made = uuid4().hex
        with _told(self._name):
            self._db.execute("INSERT OR IGNORE INTO fact VALUES ('installation', ?)", [made])
        return self._facts()["installation"]

    def load(self) -> Saved:
        """What the last process knew. Raises `StoreError`."""
        facts = self._facts()
        rows = self._rows("SELECT id, cursor, read, gone, unsettled FROM conversation")
        asked = self._rows("SELECT conversation, request FROM outbox ORDER BY number")
        return Saved(
            device=facts.get("device"),
            user=facts.get("user"),
            epoch=facts.get("epoch"),
            cursors={row[0]: row[1] for row in rows if row[1] is not None},
            reads={row[0]: row[2] for row in rows if row[2]},
            left={row[0]: row[3] for row in rows if row[3] is not None},
            purged=msgspec.json.decode(facts.get("purged", "{}"), type=dict[str, int]),
            unsettled=[row[0] for row in rows if row[4]],
            outbox=[(row[0], self._request.decode(row[1])) for row in asked],
        )

    def write(self, changes: Changes) -> None:
        """Write all of it or nothing. Raises `StoreError`."""
        with _told(self._name):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(changes)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # a full disk has ended it already
                    self._db.execute("ROLLBACK")

    def _write(self, changes: Changes) -> None:
        run, many = self._db.execute, self._db.executemany
        many("INSERT OR REPLACE INTO fact VALUES (?, ?)", changes.facts.items())
        # First, as its key may be asked anew: what is asked here can't be settled before it is written.
        many("DELETE FROM outbox WHERE client_id = ?", [(key,) for key in changes.settled])
        many(
            "INSERT INTO outbox (client_id, conversation, request) VALUES (?, ?, ?)",
            [(asked.client_id, lane, self._encode(asked)) for lane, asked in changes.asked],
        )
        for conversation in changes.forgotten:
            run("DELETE FROM message WHERE conversation = ?", [conversation])
            run("UPDATE conversation SET taken = 0 WHERE id = ?", [conversation])
        many(
            "INSERT OR IGNORE INTO conversation VALUES (?1, ?2, 0, NULL, FALSE, ?2)",
            changes.started.items(),
        )
        self._write_standings(changes.standings)
        self._write_messages(changes.messages)
        many(
            "UPDATE conversation SET taken = ? WHERE id = ?",
            [(upto, conversation) for conversation, upto in changes.taken.items()],
        )

    def _write_standings(self, standings: Iterable[Standing]) -> None:
        self._db.executemany(
            "INSERT INTO conversation VALUES (?1, ?2, ?3, ?4, ?5, ?2) ON CONFLICT (id) DO UPDATE"
            " SET cursor = ?2, read = ?3, gone = ?4, unsettled = ?5",
            [
                (row.conversation, row.cursor, row.read, row.left, row.unsettled)
                for row in standings
            ],
        )

    def _write_messages(self, messages: Iterable[tuple[str, Message]]) -> None:
        self._db.executemany(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET seq = excluded.seq, message = excluded.message WHERE excluded.seq >= message.seq",
            [
                (message.id, conversation, message.seq, message.position, self._encode(message))
                for conversation, message in messages
            ],
        )

    def messages(self, conversation: str, *, limit: int = 200) -> list[Message]:
        """The newest messages of a conversation in screen order, tombstones included. Raises `StoreError`."""
        found = self._rows(
            "SELECT message FROM message WHERE conversation = ? ORDER BY position DESC LIMIT ?",
            [conversation, limit],
        )
        return [self._message.decode(row[0]) for row in found][::-1]

    def untaken(self) -> list[Applied]:
        """What was stored and not yet taken by the application, by conversation. Raises `StoreError`."""
        rows = self._rows("SELECT id, taken, cursor FROM conversation WHERE cursor > taken")
        return [self._untaken(*row) for row in rows]

    def _untaken(self, conversation: str, taken: int, cursor: int) -> Applied:
        found = self._rows(
            "SELECT message FROM message WHERE conversation = ? AND seq > ? AND seq <= ? ORDER BY seq",
            [conversation, taken, cursor],
        )
        messages = [self._message.decode(row[0]) for row in found]
        return Applied(conversation=conversation, messages=messages, upto=cursor)

    def _facts(self) -> dict[str, str]:
        return dict(self._rows("SELECT name, value FROM fact"))

    def _rows(self, statement: str, parameters: Sequence[object] = ()) -> list[Any]:
        with _told(self._name):
            return self._db.execute(statement, parameters).fetchall()
