"""Who waits for a connection of Django's pool is counted."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest
from django.db.backends.postgresql.base import DatabaseWrapper
from psycopg_pool import ConnectionPool

from presence.database import pool_waiting


def test_who_waits_for_a_connection_is_counted(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatabaseWrapper, "_connection_pools", {})
    assert pool_waiting() == 0
    with (
        ConnectionPool(database_url, min_size=1, max_size=1) as pool,
        ThreadPoolExecutor() as threads,
    ):
        monkeypatch.setitem(DatabaseWrapper._connection_pools, "default", pool)  # type: ignore[attr-defined]
        with pool.connection():
            waiting = threads.submit(lambda: pool.putconn(pool.getconn(timeout=20)))
            deadline = monotonic() + 10
            while pool_waiting() != 1:
                assert monotonic() < deadline
                sleep(0.01)
        waiting.result(timeout=20)
        assert pool_waiting() == 0
