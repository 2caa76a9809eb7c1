"""What PostgreSQL and Valkey say of themselves, asked of real ones."""

import psycopg
from redis.asyncio import Redis

from perf.measure import counters
from perf.measure.counters import table
from perf.measure.services import PostgresLook, ValkeyLook, fsync_ms, valkey_pid
from perf.measure.statements import ServerStatements
from perf.rig.database import connected

WORK = "SELECT pg_logical_emit_message(true, 'test', repeat('x', 1000))"


async def test_commits_and_wal_are_counted_since_the_last_look(database_url: str) -> None:
    async with connected(database_url) as rig, connected(database_url) as worker:
        look = PostgresLook(rig)
        assert "postgres.commits" not in await look()
        for _ in range(10):
            await worker.execute(WORK)
        await worker.execute("SELECT pg_stat_force_next_flush()")
        await worker.execute("SELECT 1")
        found = await look()
    assert found["postgres.commits"] >= 10
    assert found["postgres.wal_bytes"] > 10_000


async def test_a_waiting_lock_is_seen_and_the_rig_itself_is_not(database_url: str) -> None:
    async with connected(database_url) as rig:
        with psycopg.connect(database_url, application_name="a server") as holder:
            holder.execute("SELECT pg_advisory_xact_lock(4711)")
            found = await PostgresLook(rig)()
    assert found["postgres.backends_in_transaction"] == 1
    assert found["postgres.backends"] == 1
    assert found["postgres.lock_waits"] == 0


async def test_valkey_counts_commands_and_knows_its_process(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as client:
        look = ValkeyLook(client)
        first = await look()
        for _ in range(5):
            await client.publish("nowhere", "x")
        found = await look()
        assert await valkey_pid(client)
    assert first["valkey.memory_mb"] > 0
    assert found["valkey.commands"] >= 5
    assert found["valkey.clients"] >= 1


async def test_the_disk_is_asked_how_long_it_takes_to_be_sure(database_url: str) -> None:
    async with connected(database_url) as rig:
        took = await fsync_ms(rig)
    assert took is not None
    assert 0 < took < 1000


async def test_the_cost_of_a_message_is_read_from_real_counters(
    database_url: str, redis_url: str
) -> None:
    async with connected(database_url) as rig, Redis.from_url(redis_url) as client:
        before = await counters.read(rig, client)
        for _ in range(10):
            await client.publish("nowhere", "x")
        after = await counters.read(rig, client)
    costs = {row.what: row.each for row in table(after.since(before), messages=10, deliveries=0)}
    assert costs["Valkey commands"] == 1
    assert costs["Valkey: publish"] == 1


async def test_the_statements_of_others_are_timed_and_the_rigs_own_are_not(
    database_url: str,
) -> None:
    async with connected(database_url) as rig, connected(database_url) as worker:
        statements = ServerStatements(rig)
        await statements.begin()
        for _ in range(5):
            await worker.execute("SELECT count(*) FROM generate_series(1, 1000) AS planted")
            await rig.execute(WORK)
        (found,) = [one for one in await statements.top() if "planted" in str(one["statement"])]
        assert not any("emit" in str(one["statement"]) for one in await statements.top())
    assert found["calls"] == 5
    assert 0 < float(found["about_p50_ms"]) <= float(found["about_p99_ms"])
