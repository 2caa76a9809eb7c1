"""Services that were killed are started again when asked for, with what was committed; those that live are left alone."""

from pathlib import Path

import pytest

from perf.faults import processes
from perf.faults.valkey import answers
from perf.rig import keeper
from perf.rig.cleanup import workplace
from perf.rig.database import connected

pytestmark = pytest.mark.slow


async def test_what_was_killed_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    with workplace() as directory:
        async with keeper.services(directory, logs=tmp_path) as kept:
            url = kept.addresses["DATABASE_URL"]
            before = await kept.revive()
            assert await kept.revive() == before  # both live
            async with connected(url) as connection:
                await connection.execute("CREATE TABLE kept (n integer)")
                await connection.execute("INSERT INTO kept VALUES (7)")
            processes.kill([before.postgres, before.valkey])
            assert not await answers(kept.addresses["REDIS_URL"])
            after = await kept.revive()
            assert after.postgres != before.postgres
            assert after.valkey != before.valkey
            assert await answers(kept.addresses["REDIS_URL"])
            async with connected(url) as connection:
                row = await (await connection.execute("SELECT n FROM kept")).fetchone()
    assert row == (7,)
