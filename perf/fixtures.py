"""pytest fixtures of a run's parts, made by factories: a test file gives them names.

place = environment_proc(crowd=Crowd(conversations=1, members=2))  # one of its own, for the session
deployed = environment_noproc(url="http://…", accounts=Path("accounts.jsonl"))  # runs already
stage = stage_in("place")  # everything that a scenario has at hand, for each test anew
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any, Generic, TypeVar

import pytest

from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.measure.series import Series
from perf.progress import Progress
from perf.rig.environment import Crowd, Environment, private, running
from perf.scenario import Options, Stage

T = TypeVar("T")


def environment_proc(*, crowd: Crowd, processes: int = 1, server: str = "uvicorn") -> Any:
    """A fixture of an environment of its own, started by the first test that asks for it."""

    @pytest.fixture(scope="session")
    def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
        logs = tmp_path_factory.mktemp("logs")
        with held(
            lambda: private(crowd=crowd, processes=processes, server=server, logs=logs)
        ) as it:
            yield it

    return environment


def environment_noproc(*, url: str, accounts: Path, database_url: str | None = None) -> Any:
    """A fixture of a deployment that runs already."""

    @pytest.fixture(scope="session")
    def environment() -> Iterator[Environment]:
        with held(
            lambda: running(url=url, accounts_file=accounts, database_url=database_url)
        ) as it:
            yield it

    return environment


def stage_in(environment: str, *, seed: int = 1, quick: bool = True) -> Any:
    """A fixture of a stage in the environment of the fixture of this name."""

    @pytest.fixture
    def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
        directory = RunDirectory.make(tmp_path, scenario="test", seed=seed)
        run = f"{seed:x}-{secrets.token_hex(4)}"
        with Recorder(directory.history_of(0), run=run, scenario="test", seed=seed) as recorder:
            yield Stage(
                options=Options(seed=seed, quick=quick, runs=tmp_path),
                environment=request.getfixturevalue(environment),
                directory=directory,
                recorder=recorder,
                series=Series(directory.series),
                progress=Progress(quiet=True),
            )

    return stage


@contextmanager
def held(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """What an async context manager gives, held by a thread: it outlives the loops of the tests."""
    holder = _Holder(make)
    holder.start()
    answer = holder.answers.get()
    if answer is None:
        holder.finish()  # raises what went wrong
        raise AssertionError("an environment ended before it began")
    try:
        yield answer
    finally:
        holder.finish()


class _Holder(threading.Thread, Generic[T]):
    """Enters a context in a loop of its own and leaves it when told to."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        super().__init__(name="perf environment", daemon=True)
        self.answers: Queue[T | None] = Queue()
        self._make, self._loop, self._enough = make, asyncio.new_event_loop(), asyncio.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Hold the context until `finish`."""
        try:
            self._loop.run_until_complete(self._hold())
        except BaseException as error:
            self._error = error
            self.answers.put(None)
        finally:
            self._loop.close()

    def finish(self) -> None:
        """Leave the context and wait for it. Raises what it raised."""
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._enough.set)
        self.join()
        if self._error is not None:
            raise self._error

    async def _hold(self) -> None:
        async with self._make() as it:
            self.answers.put(it)
            await self._enough.wait()
