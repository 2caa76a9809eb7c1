"""Raw asynchronous PostgreSQL connections with the settings of Django's default database.

Long-lived writers and listeners hold one each. They are not of Django's pool, they must not run
through a transaction pooler, and whoever opens one closes it. Whatever is asked is asked under `deadline`,
so `breaker` knows whether the database can be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.postgresql.base import DatabaseWrapper

from presence.breaker import Breaker

CONNECT_TIMEOUT_S = 5
# A server that vanished while we wait for its answer: TCP itself would find out after two hours.
KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
TCP_USER_TIMEOUT_MS = 10_000  # a dead peer is noticed within it, so that an orphan can't hold locks
ANSWER_S = 2.0  # beyond a statement's own time-out: for its cancellation, and the way back

breaker = Breaker()
"""Of this process. What runs by itself (beats, hints) goes on asking while it is open, and so closes it soon."""

# Of Django's transactions, for somebody waits for the answer: as long as the journal's slow lane waits for a conversation.
LOCK_TIMEOUT_MS = 1_000

_NOT_FOR_LIBPQ = ("cursor_factory", "context", "pool", "prepare_threshold", "server_side_binding")


async def connect(application: str, **session: str | int) -> psycopg.AsyncConnection[Any]:
    """Open a connection in autocommit mode.

    `session` are run-time parameters, dots written as `__` (lock_timeout=50, lockstep__writer="journal").
    Raises psycopg.OperationalError when the server can't be reached.
    """
    given = connections["default"].get_connection_params()
    parameters = {key: value for key, value in given.items() if key not in _NOT_FOR_LIBPQ}
    flags = " ".join(f"-c {name.replace('__', '.')}={value}" for name, value in session.items())
    parameters["options"] = f"{parameters.get('options', '')} {flags}".strip()
    began = monotonic()
    try:
        return await psycopg.AsyncConnection.connect(
            **{
                **KEEPALIVES,
                **parameters,
                "application_name": application,
                "connect_timeout": CONNECT_TIMEOUT_S,
                "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            },
            autocommit=True,
            prepare_threshold=0,
            cursor_factory=psycopg.AsyncCursor,
        )
    except psycopg.OperationalError:
        breaker.failed(since=began)
        raise


@contextlib.contextmanager
def deadline(connection: psycopg.AsyncConnection[Any], timeout_ms: int) -> Iterator[None]:
    """Hang up if what is asked inside is not answered ANSWER_S after its own time-out of `timeout_ms`.

    That time-out is kept by the server. One that is frozen (stopped processes, a hung disk) keeps none,
    while its kernel goes on confirming every packet, so this clock is ours. Raises
    psycopg.OperationalError; the connection is closed then, and what was asked may still happen.
    """
    within = timeout_ms / 1000 + ANSWER_S
    hung_up: list[bool] = []

    def give_up() -> None:
        if not connection.closed:
            hung_up.append(True)
            _hang_up(connection)

    timer = asyncio.get_running_loop().call_later(within, give_up)
    began = monotonic()
    try:
        yield
        breaker.succeeded()
    except psycopg.OperationalError as error:
        if connection.closed:
            breaker.failed(since=began)
        else:
            breaker.succeeded()  # it said no, but it said so
        if not hung_up:
            raise
        raise psycopg.OperationalError(
            f"the database gave no answer within {within:g} s"
        ) from error
    finally:
        timer.cancel()


async def close(connection: psycopg.AsyncConnection[Any], lock: asyncio.Lock) -> None:
    """Close a connection that is asked under `lock`; whoever asks now gets psycopg.OperationalError.

    psycopg's own close frees what a question under way goes on reading from: the process would crash.
    """
    if lock.locked() and not connection.closed:
        _hang_up(connection)
    async with lock:
        await connection.close()


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """Have whoever waits for an answer read the end of the stream.

    Cancelling would have psycopg ask the server to cancel, a frozen one for ten seconds.
    """
    with contextlib.closing(socket.socket(fileno=os.dup(connection.fileno()))) as wire:
        wire.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def brief() -> Iterator[None]:
    """A transaction of Django's that raises django.db.OperationalError rather than wait long for a lock.

    Within another one that one waits as before, behind it.
    """
    within = connections[DEFAULT_DB_ALIAS].in_atomic_block
    with transaction.atomic():
        before = _wait_for_locks(f"{LOCK_TIMEOUT_MS}ms")
        yield
        if within:  # raised through here it is so by itself
            _wait_for_locks(before)


def _wait_for_locks(most: str) -> str:
    """Say how long the rest of the transaction waits for a lock; returns what was said before."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        said = "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true)"
        cursor.execute(said, [most])
        before: str = cursor.fetchone()[0]
        return before


def let_go() -> None:
    """Give the connection of Django's pool back, for this thread now waits for something else; asked again, it takes one."""
    mine = connections[DEFAULT_DB_ALIAS]
    if not mine.in_atomic_block:
        mine.close()


def pool_waiting() -> int:
    """How many threads of this process wait for a connection of Django's pool; 0 without one. Opens nothing."""
    pools: dict[str, Any] = getattr(DatabaseWrapper, "_connection_pools", {})
    pool = pools.get(DEFAULT_DB_ALIAS)
    return pool.get_stats().get("requests_waiting", 0) if pool is not None else 0
