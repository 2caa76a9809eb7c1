"""Raw asynchronous PostgreSQL connections with the settings of Django's default database.

Long-lived writers and listeners hold one each. They are not of Django's pool, they must not run
through a transaction pooler, and whoever opens one closes it.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connections

CONNECT_TIMEOUT_S = 5
# A server that vanished while we wait for its answer: TCP itself would find out after two hours.
KEEPALIVES = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
TCP_USER_TIMEOUT_MS = 10_000  # a dead peer is noticed within it, so that an orphan can't hold locks

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
