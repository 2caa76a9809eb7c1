"""The series: what is counted, asked and timed within a second is on that second's line."""

import asyncio
from pathlib import Path

import pytest

from perf.load.fleet import until
from perf.measure import series as serieses
from perf.measure.series import BUCKETS_US, Series

SOON_S = 0.01


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return Series(tmp_path / "series.jsonl", every_s=SOON_S)


async def lines_of(series: Series, count: int) -> list[serieses.Line]:
    assert await until(lambda: len(serieses.load(series.path)) >= count, within_s=5)
    return serieses.load(series.path)


async def test_a_count_is_on_one_line_and_begins_again_at_zero(series: Series) -> None:
    async with series.sampling():
        await lines_of(series, 1)
        series.count("load.sent", 3)
        series.count("load.sent")
        await lines_of(series, 4)
    found = [line.get("load.sent", 0) for line in serieses.load(series.path)]
    assert sum(found) == 4
    assert max(found) == 4


async def test_what_was_counted_last_is_not_lost(series: Series) -> None:
    async with series.sampling():
        series.count("load.sent", 7)
    assert sum(line.get("load.sent", 0) for line in serieses.load(series.path)) == 7


async def test_a_gauge_is_asked_and_left_out_while_it_knows_nothing(series: Series) -> None:
    answers = iter([None, 5.0])
    series.gauge("queue", lambda: next(answers, None))
    async with series.sampling():
        lines = await lines_of(series, 3)
    assert [line["queue"] for line in lines if "queue" in line] == [5.0]


async def test_a_source_that_fails_is_left_out_and_its_reason_kept(series: Series) -> None:
    async def broken() -> dict[str, float]:
        raise OSError("nobody there")

    async def good() -> dict[str, float]:
        await asyncio.sleep(0)
        return {"good.value": 1.0}

    series.source("broken", broken)
    series.source("good", good)
    async with series.sampling():
        lines = await lines_of(series, 2)
    assert series.failures == {"broken": "nobody there"}
    assert all(line["good.value"] == 1.0 for line in lines[:2])


async def test_a_source_that_hangs_keeps_no_line_waiting_and_answers_on_a_later_one(
    series: Series,
) -> None:
    answer: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()
    ended = asyncio.Event()

    async def slow() -> dict[str, float]:
        return await answer

    async def stuck() -> dict[str, float]:
        try:
            await asyncio.Event().wait()
            raise AssertionError
        finally:
            ended.set()

    series.source("slow", slow)
    series.source("stuck", stuck)
    async with series.sampling():
        assert not any("slow.value" in line for line in await lines_of(series, 3))
        answer.set_result({"slow.value": 1.0})
        await lines_of(series, 5)
    assert any("slow.value" in line for line in serieses.load(series.path))
    assert ended.is_set()
    assert series.failures == {}


async def test_a_gauge_that_fails_ends_nothing_else(series: Series) -> None:
    def broken() -> float:
        raise OSError("nobody there")

    series.gauge("broken", broken)
    series.gauge("good", lambda: 1.0)
    async with series.sampling():
        lines = await lines_of(series, 2)
    assert all(line["good"] == 1.0 for line in lines)
    assert series.failures == {"broken": "nobody there"}


async def test_the_worst_of_a_second_is_kept(series: Series) -> None:
    for value in (1.0, 9.0, 2.0):
        series.worst("generator.late_ms", value)
    async with series.sampling():
        lines = await lines_of(series, 2)
    assert [line["generator.late_ms"] for line in lines if "generator.late_ms" in line] == [9.0]


async def test_latencies_become_percentiles_and_buckets(series: Series) -> None:
    for one in range(1, 101):
        series.time("delivery", one / 1000)
    async with series.sampling():
        lines = await lines_of(series, 1)
    line = lines[0]
    assert line["latency.delivery.count"] == 100
    assert line["latency.delivery.p50"] == 51
    assert line["latency.delivery.p99"] == 100
    assert line["latency.delivery.max"] == 100
    assert sum(line["latency.delivery.buckets"].values()) == 100


@pytest.mark.parametrize("seconds", [0.0, 0.000064, 0.001, 0.0123, 59.0, 1000.0])
async def test_every_latency_has_its_bucket(series: Series, seconds: float) -> None:
    series.time("it", seconds)
    async with series.sampling():
        lines = await lines_of(series, 1)
    (low,) = map(int, lines[0]["latency.it.buckets"])
    place = BUCKETS_US.index(low)
    assert seconds * 1e6 >= low or place == 0
    assert place == len(BUCKETS_US) - 1 or seconds * 1e6 <= BUCKETS_US[place + 1]


async def test_a_mark_is_written_at_its_moment(series: Series) -> None:
    series.mark("step 1")
    async with series.sampling():
        lines = await lines_of(series, 2)
    assert [line["mark"] for line in lines if "mark" in line] == ["step 1"]


async def test_sampling_counts_its_own_cost_also_while_a_source_is_asked(series: Series) -> None:
    async def busy() -> dict[str, float]:
        sum(range(200_000))
        await asyncio.sleep(0)
        return {}

    series.source("busy", busy)
    async with series.sampling():
        await lines_of(series, 3)
        assert series.cpu_s > 0.001
        assert series.cpu_percent > 0


def test_a_file_that_was_cut_off_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "series.jsonl"
    path.write_bytes(b'{"t":2,"a":1}\n{"t":1}\n{"t":3,"a"')
    assert [line["t"] for line in serieses.load(path)] == [1, 2]
    assert serieses.load(tmp_path / "none") == []
