"""The embedded servers start, are found again, survive their starter, and fail in one line."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from project import daemons, external, postgres, services, valkey
from project.errors import ServiceError
from tests.plugin import new_directory, remove

# The promise is 5 s; an idle machine with two cores takes 2 s. Tests share theirs with much else.
START_LIMIT_S = 15.0
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory for servers; they are stopped and deleted afterwards."""
    place = new_directory()
    yield place
    remove(place)


def pids(place: services.Services) -> tuple[int | None, int | None]:
    return postgres.pid(place.home), valkey.pid(place.home)


def kill(pid: int | None) -> None:
    """Kill a process that is not our child, and wait until it is gone."""
    assert pid is not None
    daemons.stop(pid, signal.SIGKILL)


def test_both_servers_start_from_nothing_in_time_and_answer(directory: Path) -> None:
    began = time.monotonic()
    with services.use(directory) as place:
        assert time.monotonic() - began < START_LIMIT_S
        with psycopg.connect(place.database_url) as connection:
            version = connection.execute("SHOW server_version_num").fetchone()
            durable = connection.execute(
                "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
            ).fetchone()
        with redis.Redis.from_url(place.redis_url) as client:
            assert client.ping()
    assert version is not None
    assert int(version[0]) // 10_000 == 18
    assert durable == ("on", "on")
    assert pids(place) == (None, None)


def test_data_is_there_again_at_the_next_start(directory: Path) -> None:
    with services.use(directory) as place, psycopg.connect(place.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    with services.use(directory) as place, psycopg.connect(place.database_url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_whichever_server_has_died_is_revived_with_its_data(directory: Path) -> None:
    with services.use(directory) as place:
        with psycopg.connect(place.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        assert services.revive(directory) == []
        kill(valkey.pid(place.home))
        assert services.revive(directory) == ["Valkey"]
        kill(postgres.pid(place.home))
        assert services.revive(directory) == ["PostgreSQL"]
        assert None not in pids(place)
        with psycopg.connect(place.database_url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


@pytest.mark.parametrize(
    ("brought", "named", "started"),
    [("REDIS_URL", "PostgreSQL", postgres), ("DATABASE_URL", "Valkey", valkey)],
)
def test_only_the_server_that_the_user_has_not_brought_is_started_and_revived(
    directory: Path,
    brought: str,
    named: str,
    started: Any,
    database_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    for name in (*given, "DEBUG", "LOCKSTEP_PSQL", services.IN_USE):
        monkeypatch.setenv(name, given[name] if name == brought else "")
    monkeypatch.setenv("LOCKSTEP_DATA", str(directory))
    home = services.locate(directory).home
    with services.for_command(["migrate"]):
        kill(started.pid(home))
        assert services.revive(directory, services.names_in_use(directory)) == [named]
        alone = [server for server in (postgres, valkey) if server.pid(home) is not None]
        assert alone == [started]
    assert started.pid(home) is None


def test_nothing_is_revived_where_the_data_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="is gone"):
        services.revive(tmp_path / "deleted")
    assert not (tmp_path / "deleted").exists()


def test_servers_survive_the_death_of_their_starter_and_are_adopted(directory: Path) -> None:
    script = (
        "import sys, pathlib\nfrom project import services\n"
        "with services.use(pathlib.Path(sys.argv[1])):\n print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        starter.kill()
    before = pids(services.locate(directory))
    assert None not in before
    with services.use(directory) as place:
        assert pids(place) == before
    assert pids(place) == (None, None)


@pytest.mark.long
@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed_ends_serve_and_its_servers_unless_nohup_keeps_them(
    directory: Path, nohup: bool
) -> None:
    place = services.locate(directory)
    own = {"LOCKSTEP_DATA": str(directory), "DATABASE_URL": "", "REDIS_URL": ""}
    command = [sys.executable, "manage.py", "serve", "--processes", "1", "--no-spare"]
    with subprocess.Popen(
        # These tests may themselves run under nohup.
        [*(["nohup"] if nohup else ["env", "--default-signal=HUP"]), *command],
        cwd=ROOT,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as serve:
        assert serve.stdout is not None
        assert any("psql" in line for line in serve.stdout)
        serve.send_signal(signal.SIGHUP)
        if nohup:
            with pytest.raises(subprocess.TimeoutExpired):
                serve.wait(1)
            assert None not in pids(place)
            serve.terminate()
        while serve.poll() is None:  # by the shell, by the kernel, by whoever is impatient
            serve.send_signal(signal.SIGHUP)
            with contextlib.suppress(subprocess.TimeoutExpired):
                serve.wait(0.02)
        assert serve.returncode == 0
    assert pids(place) == (None, None)


MIGRATES = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"


def _until_it_migrates(place: services.Services) -> None:
    for _ in daemons.pauses(60):
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(place.database_url) as connection,
        ):
            if connection.execute(MIGRATES).fetchone():
                return
    raise AssertionError("nobody migrates")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_impatient_while_serve_starts_leaves_no_server_running(
    directory: Path, number: signal.Signals
) -> None:
    place = services.locate(directory)
    own = {"LOCKSTEP_DATA": str(directory), "DATABASE_URL": "", "REDIS_URL": ""}
    with subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--processes", "1", "--no-spare"],
        cwd=ROOT, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as serve:  # fmt: skip
        _until_it_migrates(place)
        while serve.poll() is None:
            serve.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                serve.wait(0.02)
        assert serve.returncode == 128 + number
    assert pids(place) == (None, None)


def test_a_server_that_another_process_uses_is_not_stopped(directory: Path) -> None:
    with services.use(directory) as place:
        before = pids(place)
        with services.use(directory):
            pass
        assert pids(place) == before


def test_where_one_server_can_not_be_started_the_other_does_not_run_on(directory: Path) -> None:
    home = services.locate(directory).home
    (home.directory / "valkey.pid").mkdir()
    with pytest.raises(ServiceError, match=r"valkey\.pid"), services.use(directory):
        pass
    assert postgres.pid(home) is None


def test_servers_that_were_killed_start_again(directory: Path) -> None:
    place = services.start(directory)
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    for pid in pids(place):
        kill(pid)
    again = services.start(directory)
    with psycopg.connect(again.database_url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    with redis.Redis.from_url(again.redis_url) as client:
        assert client.ping()


def test_lock_files_whose_pid_belongs_to_another_program_now_are_stale(directory: Path) -> None:
    place = services.start(directory)
    for pid in pids(place):
        kill(pid)
    for file in (place.home.directory / "postgres" / "postmaster.pid", _valkey_pid_file(place)):
        lines = file.read_text().splitlines() if file.exists() else [""]
        file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    services.start(directory)
    assert None not in pids(place)


def _valkey_pid_file(place: services.Services) -> Path:
    return place.home.directory / "valkey.pid"


def _start(directory: Path) -> None:
    services.start(directory)


def test_two_processes_that_start_at_once_share_the_servers(directory: Path) -> None:
    context = multiprocessing.get_context("spawn")
    starters = [context.Process(target=_start, args=(directory,)) for _ in range(2)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(60)
    assert [starter.exitcode for starter in starters] == [0, 0]
    data = services.locate(directory).home.directory / "postgres"
    masters = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(data) in (process.info["cmdline"] or [])
    ]
    assert len(masters) == 1


def test_a_directory_with_a_long_or_odd_name_will_do(directory: Path) -> None:
    place = directory / ("a long name, with a comma " * 5)
    try:
        with services.use(place) as found, psycopg.connect(found.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        services.stop(place, delete=True)


def test_permissions_of_a_directory_that_is_not_ours_stay(directory: Path) -> None:
    before = {place: place.stat() for place in (directory, *directory.parents)}
    services.start(directory)
    after = {place: place.stat() for place in before}
    for place, status in before.items():
        now = after[place]
        assert (now.st_mode, now.st_uid, now.st_gid) == (
            status.st_mode,
            status.st_uid,
            status.st_gid,
        )


def test_nobody_else_can_enter_the_directory_of_the_sockets(directory: Path) -> None:
    assert services.locate(directory).home.sockets.stat().st_mode & 0o077 == 0


@contextlib.contextmanager
def small_disk(place: Path, *, uid: int = 0) -> Iterator[None]:
    """A file system of 8 MB of its own at `place`."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size=8m,uid={uid},mode=700", "tmpfs"]
    if subprocess.run([*mount, str(place)], check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, or be another user")


@needs_root
def test_a_full_disk_is_one_line(directory: Path) -> None:
    home = services.locate(directory).home
    with small_disk(home.directory, uid=home.uid):
        with pytest.raises(ServiceError, match=r"disk of .* is full") as caught:
            services.start(directory)
        assert "\n" not in str(caught.value)


@needs_root
def test_a_disk_without_room_for_the_programs_is_one_line_and_keeps_no_part_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = tmp_path / "store", tmp_path / "data"
    store.mkdir()
    monkeypatch.setattr("project.home.STORE", store)
    with small_disk(store), monkeypatch.context() as changed:
        changed.setenv("PATH", "/nonexistent")  # so that psql is one of them
        with pytest.raises(ServiceError, match=r"disk of .* is full"):
            services.start(data)
        with pytest.raises(OSError, match="No space left"):
            _ = services.locate(data).psql
        assert list(store.glob(".*")) == []


@needs_root
def test_a_disk_so_full_that_a_server_can_not_say_so_is_named_all_the_same(tmp_path: Path) -> None:
    """Not that it said nothing."""
    log = tmp_path / "postgres.log"
    with small_disk(tmp_path):
        with contextlib.suppress(OSError), (tmp_path / "rest").open("wb", buffering=0) as rest:
            while rest.write(bytes(65_536)):
                pass
        log.touch()
        with pytest.raises(ServiceError, match=r"disk of .*postgres\.log is full"):
            daemons.wait_until_ready("PostgreSQL", ended(), ready=lambda: False, log=log)


@needs_root
def test_a_valkey_that_nobody_would_find_again_is_ended_and_told(directory: Path) -> None:
    """On a full disk its pid file is empty; `serve` would start another one four times a second."""
    home = services.locate(directory).home
    with small_disk(home.directory, uid=home.uid):
        home = services.locate(directory).home  # its sockets are on that disk
        with (
            contextlib.suppress(OSError),
            (home.directory / "rest").open("wb", buffering=0) as rest,
        ):
            while rest.write(bytes(4_096)):
                pass
        try:
            with pytest.raises(ServiceError, match=r"valkey\.pid.*disk full"):
                valkey.start(home)
            assert list(servers_in(home.directory)) == []
        finally:
            for left in servers_in(home.directory):
                kill(left)


def servers_in(place: Path) -> Iterator[int]:
    """The Valkeys that work in this directory, by whatever name they are known."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "valkey-server" and daemons.works_in(process, place):
            yield process.pid


IN_ANOTHER_CONTAINER = ("unshare", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")


@needs_root
def test_data_that_a_server_in_another_container_has_open_is_left_to_it(directory: Path) -> None:
    """Its number is nobody's there; a second server on the same files would be the end of them."""
    if subprocess.run([*IN_ANOTHER_CONTAINER, "true"], check=False).returncode != 0:
        pytest.skip("this machine lets nobody have processes of their own")
    place = services.start(directory)
    lock = place.home.directory / "postgres" / "postmaster.pid"
    before = (pids(place), lock.read_text())
    start = "import pathlib, sys\nfrom project import services\nservices.start(pathlib.Path(sys.argv[1]))"
    refused = subprocess.run(
        [*IN_ANOTHER_CONTAINER, sys.executable, "-c", start, str(directory)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert "is in use by a PostgreSQL of another container or machine" in refused.stderr
    assert (pids(place), lock.read_text()) == before
    with psycopg.connect(place.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@needs_root
@pytest.mark.parametrize(
    ("processes", "why"), [(0, "Resource temporarily unavailable"), (2, "Cannot fork")]
)
def test_where_no_process_can_be_started_that_is_the_reason(
    directory: Path, processes: int, why: str
) -> None:
    """With the limit at the shell or behind it; a server of another container was said to have the directory."""
    os.chown(directory, 54_322, 54_322)
    attempt = (
        "import os, pathlib, resource, sys\nfrom project import daemons, home\n"
        "place = pathlib.Path(sys.argv[1])\n"
        "own = home.Home(directory=place, sockets=place, uid=54_322, gid=54_322)\n"
        "os.setgroups([]); os.setgid(54_322); os.setuid(54_322)\n"
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))\n"
        "with home.one_line_errors(place):\n"
        "    daemons.spawn('PostgreSQL', own, ['true'], log=place / 'server.log', dead=())"
    )
    tried = subprocess.run(
        [sys.executable, "-c", attempt, str(directory)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"ServiceError: {directory}: " in tried.stderr
    assert why in tried.stderr


def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@needs_root
def test_a_user_whom_the_system_does_not_know_is_one_line(directory: Path) -> None:
    """A number in a container: initdb says what it lacks, without the word error."""
    os.chown(directory, 54_321, 54_321)
    with pytest.raises(ServiceError, match=r"user ID 54321: user does not exist\. Mend that"):
        services.start(directory)


def test_a_wrong_password_is_one_line(directory: Path) -> None:
    place = services.start(directory)
    data = place.home.directory / "postgres"
    (data / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    pid = postgres.pid(place.home)
    assert pid is not None
    with psycopg.connect(place.database_url) as connection:
        connection.execute("ALTER USER lockstep PASSWORD 'right'")
        connection.commit()
        connection.execute("SELECT pg_reload_conf()")
    right = place.database_url.replace("lockstep@", "lockstep:right@")
    wrong = place.database_url.replace("lockstep@", "lockstep:wrong@")
    _wait_until_passwords_count(place.database_url)
    external.check(database_url=right, redis_url="")
    with pytest.raises(ServiceError, match=r"DATABASE_URL.*password") as caught:
        external.check(database_url=wrong, redis_url="")
    assert "\n" not in str(caught.value)
    assert "wrong" not in str(caught.value)


def _wait_until_passwords_count(url: str) -> None:
    for _ in daemons.pauses(10):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return
    raise AssertionError("PostgreSQL has not read its configuration anew")
