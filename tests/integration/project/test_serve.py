"""`manage.py serve` serves with several processes, keeps them alive, and ends in peace."""

import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from project import counters, daemons, demo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
READY = re.compile(r"Lockstep serves at (http://\S+)")
PATIENCE_S = 60  # for what takes two seconds on an idle machine
# `manage.py`, whose spare process does not wait until devices that come back have what they lack.
AT_ONCE = "from project import spare; spare.REST_S = 0.0; import manage; manage.main()"

Serve = Callable[..., "contextlib.AbstractContextManager[Running]"]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A `serve` that is ready."""

    process: subprocess.Popen[str]
    url: str
    greeting: str

    def workers(self) -> list[psutil.Process]:
        """The processes that serve, oldest first."""
        return [child for child in self.children() if _serves(name_of(child))]

    def spare(self) -> psutil.Process:
        """The process that waits to be needed; it is waited for, too."""
        for _ in daemons.pauses(PATIENCE_S):
            for child in self.children():
                if name_of(child) == "lockstep spare":
                    return child
        raise AssertionError(self.children())

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


def _serves(name: str) -> bool:
    return re.fullmatch(r"lockstep \d+", name) is not None


def name_of(process: psutil.Process) -> str:
    """What it calls itself; nothing if it has just ended."""
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


def own_database(database_url: str) -> str:
    return re.sub(r"/[^/?]+(?=\?|$)", "/serve_test", database_url, count=1)


@pytest.fixture(scope="module")
def serve(database_url: str, redis_url: str) -> Iterator[Serve]:
    """Starts `serve` on a database of its own; the first start migrates it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS serve_test WITH (FORCE)")
        connection.execute("CREATE DATABASE serve_test")
    own = own_database(database_url)
    environment = {**os.environ, "DATABASE_URL": own, "REDIS_URL": redis_url}

    @contextlib.contextmanager
    def start(*arguments: str, debug: bool = True, spare: bool = False) -> Iterator[Running]:
        program = ["-c", AT_ONCE, "serve"] if spare else ["manage.py", "serve", "--no-spare"]
        command = [sys.executable, *program, *arguments]
        own = {**environment, "DEBUG": str(int(debug))}
        with subprocess.Popen(
            command, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield _ready(process)
            finally:
                process.terminate()
                process.wait(PATIENCE_S)

    yield start
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE serve_test WITH (FORCE)")


# Sessions, the close codes and the bounds of Daphne are tested elsewhere each time.
KINDS = ["uvicorn", pytest.param("daphne", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=KINDS)
def running(serve: Serve, request: pytest.FixtureRequest) -> Iterator[Running]:
    """Two processes of either server; SIGTERM must end them with success."""
    with serve("--processes", "2", "--server", request.param, spare=True) as ready:
        yield ready
        ready.process.send_signal(signal.SIGTERM)
        assert ready.process.wait(PATIENCE_S) == 0


def _ready(process: subprocess.Popen[str]) -> Running:
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    found = READY.match(lines[0])
    assert found, f"serve did not start: {lines[0]!r}, exit code {process.poll()}"
    while "psql" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], f"serve did not greet: {lines}"
    return Running(process=process, url=found[1], greeting="".join(lines))


def test_the_greeting_names_the_logins_and_the_database(running: Running) -> None:
    assert "alice or bob" in running.greeting
    assert "psql" in running.greeting


def test_every_process_answers(running: Running) -> None:
    for worker in running.workers():
        others = [each for each in running.workers() if each != worker]
        for other in others:
            other.suspend()
        try:
            assert answered(running)
        finally:
            for other in others:
                other.resume()


def answered(running: Running) -> bool:
    """Ask again and again: a connection that reaches a suspended process doesn't count."""
    for _ in daemons.pauses(PATIENCE_S):
        with (
            contextlib.suppress(TimeoutError),
            urllib.request.urlopen(running.url, timeout=1) as it,
        ):
            return int(it.status) == 200
    return False


@pytest.mark.parametrize("server", KINDS)
def test_a_process_that_says_it_is_ready_is_warm(
    serve: Serve, database_url: str, server: str
) -> None:
    """The first hello after a deploy waits for no connections: the node is registered already."""
    with serve("--processes", "1", "--server", server) as ready:
        (worker,) = ready.workers()
        with psycopg.connect(own_database(database_url)) as connection:
            names = connection.execute("SELECT name FROM presence_node WHERE lease > now()")
            assert f"{socket.gethostname()}:{worker.pid}" in [name for (name,) in names]


def test_metrics_of_all_processes_are_on_one_page(running: Running) -> None:
    """Each process answers for all: the page has the gauges whoever is asked."""
    for _ in range(4):
        page = urllib.request.urlopen(f"{running.url}/metrics", timeout=PATIENCE_S).read().decode()
        for gauge in ("sessions", "topics", "allocated_blocks"):
            assert f"# TYPE lockstep_{gauge} gauge" in page
        assert "python_info" not in page  # that would be one process alone


def test_no_file_of_counters_has_a_hole(running: Running) -> None:
    """A hole for which a full disk has no block ends the process (SIGBUS), and each that takes its place."""
    (place,) = Path(tempfile.gettempdir()).glob(f"{counters.PREFIX}{running.process.pid}-*")
    files = {file.name: file.stat() for file in place.glob("*.db")}
    assert {file.partition("_")[0] for file in files} == {"counter", "gauge", "histogram"}
    for name, status in files.items():
        assert status.st_size == counters.FILE_BYTES, name
        assert status.st_blocks * 512 >= status.st_size, name


def test_every_process_says_that_it_lives_and_is_ready(running: Running) -> None:
    """Whatever name it is asked under: load balancers know addresses only."""
    assert '"alive": true' in asked_by_address(running, "healthz")
    for _ in daemons.pauses(PATIENCE_S):  # on a busy machine a pulse may be late, and that is said
        said = asked_by_address(running, "readyz")
        if '"missing": {}' in said:
            return
    raise AssertionError(said)


def asked_by_address(running: Running, path: str) -> str:
    request = urllib.request.Request(f"{running.url}/{path}", headers={"Host": "10.0.0.1"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.read().decode()


def test_who_comes_through_a_proxy_that_is_not_trusted_is_not_from_this_machine(
    running: Running,
) -> None:
    """Its address is the proxy's: the metrics would be everybody's."""
    headers = {"X-Forwarded-For": "127.0.0.1"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{running.url}/metrics", headers=headers))
    refused.value.close()
    assert refused.value.code == 403


def test_nagles_algorithm_is_off(running: Running) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.recv(100)
        assert no_delay(running.workers(), client.getsockname()[1])


def no_delay(workers: list[psutil.Process], client_port: int) -> bool:
    """Read TCP_NODELAY of the server's end of the connection, through a copy of its descriptor."""
    pid, number = next(
        (worker.pid, end.fd)
        for worker in workers
        for end in worker.net_connections("tcp")
        if end.raddr and end.raddr.port == client_port
    )
    pidfd = os.pidfd_open(pid)
    try:
        copy = copied_descriptor(pidfd, number)
    finally:
        os.close(pidfd)
    with socket.socket(fileno=copy) as end:
        return end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def copied_descriptor(pidfd: int, number: int) -> int:
    """The system call pidfd_getfd (Linux 5.6), for which Python has no function."""
    copy = int(ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, number, 0))
    if copy < 0:
        pytest.skip("this machine lets us copy no descriptor of another process")
    return copy


def test_the_spare_takes_the_place_of_a_process_that_is_killed(running: Running) -> None:
    victim, survivor = running.workers()
    spare, name = running.spare(), victim.name()
    victim.kill()
    until(lambda: named(running) == {survivor.pid: survivor.name(), spare.pid: name})
    until(
        lambda: "lockstep_processes 2.0" in page_of(running, "metrics")
    )  # another spare counts for nothing


def until(look: Callable[[], bool]) -> None:
    for _ in daemons.pauses(PATIENCE_S):
        if look():
            return
    raise AssertionError("never")


def named(running: Running) -> dict[int, str]:
    """The processes that serve, and what each is called."""
    names = {child.pid: name_of(child) for child in running.children()}
    return {pid: name for pid, name in names.items() if _serves(name)}


def page_of(running: Running, path: str) -> str:
    with urllib.request.urlopen(f"{running.url}/{path}", timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


@pytest.mark.long
@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
def test_whatever_is_killed_is_replaced(serve: Serve, server: str, database_url: str) -> None:
    """The spare; the process, by it; and both at once."""
    with serve("--processes", "1", "--server", server, spare=True) as running:
        first = running.spare()
        first.kill()
        until(lambda: running.spare() != first)
        second = running.spare()
        running.workers()[0].kill()
        until(lambda: running.workers() == [second])
        until(lambda: back(running))
        assert "lockstep serve 1" in backends_after_login(running, database_url)
        for process in (running.spare(), second):
            process.kill()
        until(lambda: bool(running.workers()) and second not in running.workers())
        until(lambda: back(running))
        assert "--spare" not in running.workers()[0].cmdline()


def back(running: Running) -> bool:
    with contextlib.suppress(OSError):  # nobody listens yet
        return answered(running)
    return False


def backends_after_login(running: Running, database_url: str) -> set[str]:
    """The names under which the database knows who is connected; a login needs the process's pool."""
    given = json.dumps({"username": demo.NAMES[0], "password": demo.PASSWORD}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{running.url}/api/login", given, headers)
    urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    with psycopg.connect(own_database(database_url)) as connection:
        names = connection.execute("SELECT application_name FROM pg_stat_activity")
        return {name for (name,) in names}


@pytest.mark.long
def test_a_process_that_is_ended_is_replaced_by_one_that_reads_the_program_as_it_is_now(
    serve: Serve,
) -> None:
    """A deploy, process by process: the spare may have read the program as it was before, and goes."""
    with serve("--processes", "1", spare=True) as running:
        (worker,), spare = running.workers(), running.spare()
        worker.terminate()
        until(lambda: bool(running.workers()) and worker not in running.workers())
        assert spare not in running.workers()
        assert running.spare() != spare


@pytest.mark.long
def test_the_spare_ends_with_its_parent(serve: Serve) -> None:
    with serve("--processes", "1", spare=True) as running:
        all_of_them = [running.spare(), *running.workers()]
        running.process.kill()
        assert not psutil.wait_procs(all_of_them, PATIENCE_S)[1]
    with serve("--processes", "1", spare=True) as running:
        all_of_them = [running.spare(), *running.workers()]
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE_S) == 0
        assert not any(process.is_running() for process in all_of_them)


def test_the_page_and_its_files_need_no_proxy_in_production(serve: Serve) -> None:
    with serve("--processes", "1", debug=False) as running:
        page = urllib.request.urlopen(f"{running.url}/", timeout=PATIENCE_S).read().decode()
        files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert len(files) >= 3
        for file in files:
            with urllib.request.urlopen(f"{running.url}{file}", timeout=PATIENCE_S) as answer:
                assert answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{running.url}/static/../settings.py", timeout=PATIENCE_S)


def test_the_processes_end_when_their_parent_is_killed(serve: Serve) -> None:
    with serve("--processes", "2") as running:
        workers = running.workers()
        running.process.kill()
        _, alive = psutil.wait_procs(workers, PATIENCE_S)
        assert not alive


def test_a_second_serve_takes_the_next_port_and_ctrl_c_ends_it(
    serve: Serve, running: Running
) -> None:
    with serve("--processes", "1") as second:
        assert second.url != running.url
        assert answered(second)
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(PATIENCE_S) == 0


def test_a_process_may_open_as_many_files_as_the_system_allows(serve: Serve) -> None:
    """Shells and systemd begin programs with 1,024: the next device was reset, and so was HAProxy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        with serve("--processes", "1") as running:
            assert running.workers()[0].rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def refused(*arguments: str) -> str:
    """What `serve` says that does not start."""
    command = [sys.executable, "manage.py", "serve", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    return result.stderr


def test_no_process_at_all_is_one_line(database_url: str, redis_url: str) -> None:
    said = "error: --processes 0: at least one has to serve.\n"
    assert refused("--processes", "0") == said


def test_a_given_port_that_is_taken_is_one_line(database_url: str, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused("--port", str(port))
    assert said == (f"error: Port {port} is in use: end what uses it, or choose another --port.\n")
