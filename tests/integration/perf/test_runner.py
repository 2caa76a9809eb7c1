"""What the runner makes of scenarios that fail, hang or meet a server that breaks: one line, and no verdict."""

import asyncio
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import psycopg
import pytest
import pytest_asyncio

from perf import runner
from perf.history.rundir import RunDirectory
from perf.progress import Progress
from perf.rig.children import RigError
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Result, Scenario, Stage
from perf.targets import outcome

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Run = Callable[[Stage], Awaitable[Findings]]


@pytest_asyncio.fixture
async def options(tmp_path: Path) -> AsyncIterator[Options]:
    """Of a run against something that answers HTTP, which is all that these scenarios need."""
    accounts = tmp_path / "accounts.jsonl"
    one = {"user": "u", "device": "d", "token": "t", "conversations": []}
    accounts.write_text(json.dumps(one) + "\n")
    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(NOT_FOUND)
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield Options(
            seed=1, url=f"http://127.0.0.1:{port}", accounts=accounts, runs=tmp_path / "runs"
        )
    for task in answering:  # whoever opened a connection and said nothing
        task.cancel()
    await asyncio.gather(*answering, return_exceptions=True)


def named(name: str, run: Run) -> Scenario:
    return Scenario(
        name=name,
        group="stress",
        title="a test",
        crowd=lambda options: Crowd(conversations=1, members=1),
        run=run,
        judged=False,
    )


async def measure(options: Options, run: Run) -> Result:
    scenario = named("test", run)
    return await runner.measure(scenario, options, progress=Progress(quiet=True), command="")


def rig_log(options: Options) -> str:
    return (options.runs / "latest" / "logs" / "rig.log").read_text()


async def test_a_database_that_fails_in_a_task_is_one_line(options: Options) -> None:
    async def fail() -> None:
        raise psycopg.OperationalError("the server closed the connection\nand said more")

    async def run(stage: Stage) -> Findings:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
        raise AssertionError

    with pytest.raises(RigError) as raised:
        await measure(options, run)
    assert str(raised.value) == "the server closed the connection"
    assert "in fail" in rig_log(options)


async def test_a_fault_of_the_rig_itself_is_called_so_and_keeps_its_stack_trace(
    options: Options,
) -> None:
    async def run(stage: Stage) -> Findings:
        raise KeyError("nobody")

    with pytest.raises(
        RigError, match=r"a fault of perf itself, KeyError: 'nobody'; see .*rig.log"
    ):
        await measure(options, run)
    assert "in run" in rig_log(options)


async def test_one_of_several_that_falls_over_does_not_stop_the_others_and_is_unknown(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def well(stage: Stage) -> Findings:
        return Findings(outcomes=[outcome("T7", 100.0, source="one session")])

    async def broken(stage: Stage) -> Findings:
        raise KeyError("nobody")

    def found() -> list[Result]:
        interval = sys.getswitchinterval()
        try:
            return [
                runner.run_or_explain(
                    named(name, run), options, progress=Progress(quiet=True), arguments=[name]
                )
                for name, run in (("first", broken), ("second", well), ("third", well))
            ]
        finally:
            sys.setswitchinterval(interval)

    write = runner.report.write

    def fails_once(result: Result, directory: RunDirectory) -> None:
        if result.scenario == "second":
            raise ValueError("no picture")
        write(result, directory)

    monkeypatch.setattr(runner.report, "write", fails_once)
    runs = await asyncio.to_thread(found)
    together = runner.merge("e2e", runs, options, arguments=["e2e", "all"])
    assert [one.verdict for one in runs] == ["unknown", "unknown", "valid"]
    assert (together.verdict, together.exit_code) == ("unknown", 2)
    assert [one.scenario for one in together.runs] == ["first", "second", "third"]
    assert "KeyError" in together.problems[0]
    assert "no picture" in together.problems[1]
    assert together.environment["environment"] == options.url


async def test_a_scenario_that_hangs_is_ended(
    options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(stage: Stage) -> Findings:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(runner, "HUNG_S", 0.2)
    with pytest.raises(RigError, match="it hung: planned for 0 s"):
        async with asyncio.timeout(20):
            await measure(options, run)


@pytest.mark.long
async def test_a_stack_trace_counts_also_where_servers_are_killed_on_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"):
        monkeypatch.delenv(name, raising=False)

    async def run(stage: Stage) -> Findings:
        (server,) = stage.environment.servers
        await server.kill()
        with server.log.open("a") as log:
            log.write("Traceback (most recent call last):\nValueError: it fell\n")
        await server.start()
        return Findings(outcomes=[outcome("T7", 100.0, source="a test")])

    nobody = Crowd(conversations=0, members=0)
    killing = dataclasses.replace(named("test", run), kills=True, crowd=lambda options: nobody)
    options = Options(seed=1, runs=tmp_path)
    result = await runner.measure(killing, options, progress=Progress(quiet=True), command="")
    assert result.problems == [
        "the server wrote 1 stack traces into server.log, the first: ValueError: it fell"
    ]
    assert result.verdict == "invalid"


def test_a_thread_of_the_rig_keeps_the_load_waiting_for_half_a_millisecond_at_most() -> None:
    async def interval() -> float:
        return sys.getswitchinterval()

    before = sys.getswitchinterval()
    try:
        assert runner.execute(interval()) <= 0.0005
    finally:
        sys.setswitchinterval(before)


async def test_what_could_not_be_sampled_is_in_the_figures(options: Options) -> None:
    async def broken() -> dict[str, float]:
        raise OSError("nobody there")

    async def run(stage: Stage) -> Findings:
        stage.series.source("broken", broken)
        while not stage.series.failures:  # noqa: ASYNC110 - a series tells nobody
            await asyncio.sleep(0.05)
        return Findings(outcomes=[])

    result = await measure(options, run)
    assert result.figures["not_sampled"] == {"broken": "nobody there"}
