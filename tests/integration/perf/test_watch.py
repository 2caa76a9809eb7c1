"""Watching a run: real processes, PostgreSQL and Valkey answer, and who is not there is left out."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from perf.load import probe
from perf.measure.series import Line, Series, load
from perf.rig.environment import Environment
from perf.watch import watching


async def watched(
    tmp_path: Path,
    environment: Environment,
    redis_url: str | None,
    enough: Callable[[Series, list[Line]], bool],
) -> tuple[Series, list[Line]]:
    """The lines until there are enough of them: each source answers when it can."""
    series = Series(tmp_path / "series.jsonl", every_s=0.05)
    async with (
        asyncio.timeout(60),
        watching(series, environment, redis_url=redis_url, generator=probe.generator),
    ):
        while not enough(series, load(series.path)):  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.05)
    return series, load(series.path)


def place(**changes: object) -> Environment:
    given = {"url": "http://127.0.0.1:1", "accounts": [], "database_url": None, **changes}
    return Environment(**given)  # type: ignore[arg-type]


async def test_everything_that_can_be_reached_is_in_the_series(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    wanted = {
        *("generator.cpu_percent", "generator.rss_mb", "generator.tasks", "others.cpu_percent"),
        *("postgres.cpu_percent", "postgres.commits", "postgres.fsync_ms", "postgres.lock_waits"),
        *("valkey.cpu_percent", "valkey.commands", "machine.memory_share", "sampler.cpu_ms"),
    }
    await watched(
        tmp_path,
        place(database_url=database_url),
        redis_url,
        lambda series, lines: wanted <= {name for line in lines for name in line},
    )


async def test_a_run_goes_on_without_what_cannot_be_reached(tmp_path: Path) -> None:
    gone = place(database_url="postgres://nobody@/none?host=/nowhere")
    series, lines = await watched(
        tmp_path,
        gone,
        "unix:///nowhere/valkey.sock",
        lambda series, lines: "server" in series.failures and len(lines) > 2,
    )
    assert "server" in series.failures
    assert lines[-1]["generator.tasks"] >= 1
    assert not any(name.startswith(("postgres.", "valkey.commands")) for name in lines[-1])
