"""A private environment serves, and is gone afterwards, however its rig ended."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from perf.rig import cleanup
from perf.rig.accounts import Account
from perf.rig.children import MARK, ROOT
from perf.rig.environment import Crowd, private
from perf.rig.survivors import Survivors
from tests.commands import ENVIRONMENT
from tests.integration.perf import rig_process
from tests.integration.perf.rig_process import Rig

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private environment starts from nothing: the tests' own servers must not leak in."""
    for name in ("DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Rig]]:
    """Starts rigs, and leaves none behind whatever a test does."""
    rigs_started: list[Rig] = []

    def start() -> Rig:
        rigs_started.append(rig_process.start(tmp_path))
        return rigs_started[-1]

    yield start
    for rig in rigs_started:
        rig.process.kill()
        rig.process.communicate()
        cleanup.remove(cleanup.Leftover(directory=rig.directory, processes=()))


@pytest.mark.long
async def test_a_private_environment_serves_accounts_and_leaves_only_its_logs(
    tmp_path: Path,
) -> None:
    crowd = Crowd(conversations=1, members=2, devices=2)
    async with private(crowd=crowd, processes=2, logs=tmp_path) as place:
        directory = place.env[MARK]
        assert len(place.accounts) == crowd.accounts == 4
        assert all(isinstance(one, Account) for one in place.accounts)
        (server,) = place.servers
        assert len(server.workers()) >= 2
        async with place.another("second", LOG_LEVEL="INFO") as second:
            assert second.url != place.url
            assert set(second.family()).isdisjoint(server.family())
            assert set(place.server_processes()) == {*second.family(), *server.family()}
        assert not second.family()
        known = place.server_processes()
        assert place.facts["postgres"]
    assert directory not in {str(path) for path in cleanup.places()}
    assert not [one for one in known if one.is_running()]
    assert {"server.log", "second.log", "postgres.log", "valkey.log"} <= set(os.listdir(tmp_path))


@pytest.mark.long
async def test_a_process_of_a_second_server_that_ended_is_remembered(tmp_path: Path) -> None:
    async with private(crowd=Crowd(conversations=0, members=0), logs=tmp_path) as place:
        survivors = Survivors(place)
        async with place.another("second") as second:
            pass
        assert not second.family()
        assert survivors.problems() == []
        async with place.another("second") as second:
            (worker,) = second.workers()
            worker.kill()  # its supervisor has another one take its place
            rig_process.eventually(lambda: worker not in second.workers(), second.workers)
        assert survivors.problems() == ["1 processes of the server ended during the run"]


@pytest.mark.long
async def test_nothing_is_left_when_the_keeper_was_killed_and_the_rig_goes_on(
    tmp_path: Path,
) -> None:
    async with private(crowd=Crowd(conversations=0, members=0), logs=tmp_path) as place:
        directory = Path(place.env[MARK])
        home = rig_process.home_of(directory)
        rig_process.keeper_of(directory).kill()
    assert not any(place.exists() for place in (directory, home))
    assert not rig_process.marked(directory)


@pytest.mark.long
async def test_a_killed_server_is_started_again_on_its_port(tmp_path: Path) -> None:
    async with private(crowd=Crowd(conversations=0, members=0), logs=tmp_path) as place:
        (server,) = place.servers
        before = server.family()
        await server.kill()
        assert not psutil.wait_procs(before, timeout=10)[1]
        await server.start()
        assert server.url == place.url
        assert server.workers()


@pytest.mark.long
def test_nothing_is_left_after_ctrl_c(start: Callable[[], Rig]) -> None:
    rig = start()
    rig.process.send_signal(signal.SIGINT)
    rig.process.communicate(timeout=60)
    assert rig.gone(), (rig.children(), rig.services())


@pytest.mark.long
def test_a_second_ctrl_c_does_not_wait_for_a_server_that_hangs(start: Callable[[], Rig]) -> None:
    rig = start()
    for server in [one for one in rig.children() if "serve" in one.cmdline()]:
        server.suspend()  # it would be waited for
    for _ in range(2):
        rig.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            rig.process.wait(0.3)
    rig.process.communicate(timeout=10)
    rig_process.eventually(rig.gone, rig.children)


def test_nothing_is_left_when_the_rig_was_killed(start: Callable[[], Rig]) -> None:
    rig = start()
    rig.process.kill()
    rig_process.eventually(rig.gone, lambda: (rig.children(), rig.services()))


@pytest.mark.long
def test_cleanup_removes_what_is_left_when_the_keeper_was_killed_too(
    start: Callable[[], Rig],
) -> None:
    rig = start()
    keeper = rig.keeper()
    keeper.suspend()  # else it would begin to clear up
    rig.process.kill()
    rig.process.wait()
    keeper.kill()
    assert rig.services()
    assert str(rig.directory) in _perf("cleanup")
    assert rig.gone(), (rig.children(), rig.services())


@pytest.mark.long
def test_cleanup_touches_nothing_of_a_rig_that_lives(start: Callable[[], Rig]) -> None:
    rig = start()
    before = set(rig.children())
    assert str(rig.directory) not in _perf("cleanup")
    assert set(rig.children()) == before


@pytest.mark.long
async def test_a_server_that_can_not_start_says_why_in_one_line(tmp_path: Path) -> None:
    async with private(crowd=Crowd(conversations=0, members=0), logs=tmp_path) as place:
        with pytest.raises(Exception, match="before it was ready"):
            async with asyncio.timeout(60), place.another("broken", settings="no.such.settings"):
                raise AssertionError("it started")


def _perf(*arguments: str) -> str:
    command = [sys.executable, "manage.py", "perf", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return done.stdout
