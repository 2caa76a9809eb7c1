"""Runs the tests that use the two services on the distribution's PostgreSQL and Redis.

`bin/servers` installs them. Private instances run on free TCP ports, with passwords, as an ordinary
user, in a temporary directory; they end with this process, however that ends. Arguments go on to
pytest.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import redis

from project import daemons
from project.home import Home, prepare
from tests.plugin import new_directory, remove

TESTS = [
    "tests/integration",
    "tests/acceptance/test_sessions.py",
    "--ignore=tests/integration/project/test_services.py",  # it is about the embedded servers
    "--ignore=tests/integration/perf",  # so are the rig's own
]
MEND = (
    "The tests on the distribution's PostgreSQL and Redis are left out; to run them: "
    "sudo apt-get install postgresql redis-server"
)
USER = "lockstep"


def main() -> int:
    """Return 0 when the tests passed, or when there are no servers and nobody insists on them."""
    initdb, redis_server = find("initdb"), find("redis-server")
    if initdb is None or redis_server is None:
        print(MEND)
        return int(os.environ.get("CI") == "true")
    directory = new_directory()
    try:
        home = prepare(directory)
        with postgres(home, initdb) as database_url, bus(home, redis_server) as url:
            given = {"DATABASE_URL": database_url, "REDIS_URL": url}
            command = [sys.executable, "-m", "pytest", *TESTS, *sys.argv[1:]]
            return subprocess.run(command, check=False, env=os.environ | given).returncode
    finally:
        remove(directory)


def find(program: str) -> Path | None:
    """The program on PATH, else of the newest PostgreSQL where Debian puts it."""
    if found := shutil.which(program):
        return Path(found)
    places = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    return max(places, key=lambda path: float(path.parent.parent.name), default=None)


@contextlib.contextmanager
def postgres(home: Home, initdb: Path) -> Iterator[str]:
    """Make a cluster as `initdb` likes it and run it; yields its DATABASE_URL."""
    data, secret, password = home.directory / "data", home.directory / "password", new_password()
    secret.write_text(password)
    flags = ["--username", USER, "--auth", "scram-sha-256", "--pwfile", str(secret)]
    made = daemons.run(home, [str(initdb), "-D", str(data), "--encoding", "UTF8", *flags])
    if made.returncode != 0:
        raise RuntimeError(made.stderr)
    port = free_port()
    options = {"port": port, "max_connections": 200, "unix_socket_directories": home.sockets}
    parts = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    url = f"postgres://{USER}:{password}@127.0.0.1:{port}/postgres"

    def version() -> str:
        with psycopg.connect(url) as connection:
            return f"PostgreSQL {connection.info.parameter_status('server_version')}"

    with running(home, [str(initdb.parent / "postgres"), "-D", str(data), *parts], version):
        yield url


@contextlib.contextmanager
def bus(home: Home, program: Path) -> Iterator[str]:
    """Run Redis without persistence; yields its REDIS_URL."""
    port, password = free_port(), new_password()
    options = {"bind": "127.0.0.1", "port": str(port), "requirepass": password, "save": ""}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    url = f"redis://:{password}@127.0.0.1:{port}/0"

    def version() -> str:
        with redis.Redis.from_url(url) as client:
            return f"Redis {client.info('server')['redis_version']}"

    with running(home, [str(program), *flags], version):
        yield url


@contextlib.contextmanager
def running(home: Home, command: list[str], version: Callable[[], str]) -> Iterator[None]:
    """Run a server from the moment it tells its version to the end of the block, or our own."""
    log = home.directory / f"{Path(command[0]).name}.log"
    root = os.geteuid() == 0
    with log.open("w") as output:
        server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "INT", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home.directory,
            env=daemons.environment(),
            start_new_session=True,
            user=home.uid if root else None,
            group=home.gid if root else None,
            extra_groups=[] if root else None,
        )
    try:
        daemons.wait_until_ready(log.stem, server.pid, ready=lambda: answers(version), log=log)
        print(version(), flush=True)
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=daemons.STOP_S)


def answers(version: Callable[[], str]) -> bool:
    """Readiness, not an assertion."""
    try:
        return bool(version())
    except (psycopg.OperationalError, redis.RedisError):
        return False


def new_password() -> str:
    return secrets.token_hex(16)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
