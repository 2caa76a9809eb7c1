"""PostgreSQL and Valkey for whoever has not brought their own.

With DATABASE_URL and REDIS_URL set, those servers are used. Otherwise real ones from wheels run
with their data in `.lockstep/` beside manage.py. They outlive a crash of their starter and are
found again; the last user who leaves in peace stops them, and `serve` has those that died start anew.
`postgres` and `valkey` know the two servers, `home` knows where they live.
"""

import contextlib
import fcntl
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from project import daemons, external, postgres, valkey
from project.errors import ServiceError
from project.home import Home, one_line_errors, prepare, remove

__all__ = [
    "ServiceError",
    "Services",
    "directory_in_use",
    "for_command",
    "locate",
    "revive",
    "start",
    "stop",
    "use",
]

DIRECTORY = Path(__file__).resolve().parent.parent / ".lockstep"
IN_USE = "LOCKSTEP_SERVICES"  # set for the command: the directory of the servers it runs on

# Commands that need no server; every other one gets both.
OFFLINE = {
    *("help", "version", "check", "makemigrations", "diffsettings", "startapp"),
    *("collectstatic", "findstatic", "makemessages", "compilemessages"),
}


@dataclass(frozen=True, kw_only=True)
class Services:
    """Where the two servers are."""

    database_url: str
    redis_url: str
    psql: str
    home: Home


def locate(directory: Path) -> Services:
    """Return the addresses of the servers of `directory`, running or not."""
    home = prepare(directory)
    return Services(
        database_url=postgres.url(home),
        redis_url=valkey.url(home),
        psql=shlex.join([postgres.psql(home), postgres.url(home)]),
        home=home,
    )


def start(directory: Path) -> Services:
    """Start both servers, or adopt those that run. Safe when two processes do it at once."""
    services = locate(directory)
    with one_line_errors(directory), daemons.lock(services.home, "start.lock", fcntl.LOCK_EX):
        postgres.start(services.home)
        valkey.start(services.home)
    return services


def stop(directory: Path, *, delete: bool = False) -> None:
    """Stop both servers, whoever uses them; with `delete` their data goes too."""
    home = prepare(directory)
    with daemons.lock(home, "start.lock", fcntl.LOCK_EX):
        valkey.stop(home)
        postgres.stop(home, keep=not delete)
    if delete:
        remove(home, directory)


@contextlib.contextmanager
def use(directory: Path) -> Iterator[Services]:
    """Start or adopt the servers; on the way out stop them unless another process uses them."""
    home = prepare(directory)
    with daemons.lock(home, "users.lock", fcntl.LOCK_SH) as file:
        services = start(directory)
        try:
            yield services
        finally:
            with (
                daemons.lock(home, "start.lock", fcntl.LOCK_EX),
                contextlib.suppress(BlockingIOError),
            ):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                valkey.stop(home)
                postgres.stop(home)


def revive(directory: Path) -> list[str]:
    """Start whichever server of `directory` has died; return the names of those that had.

    Takes as long as a start: Valkey's some ms, PostgreSQL's until it has recovered. Raises
    ServiceError when one can't be started. Call it only inside `use`, where nobody else stops them.
    """
    if not directory.exists():  # a new one would be empty
        raise ServiceError(f"{directory} is gone: end serve, and start it anew.")
    home = prepare(directory)
    servers = (("PostgreSQL", postgres), ("Valkey", valkey))
    dead = [name for name, server in servers if server.pid(home) is None]
    if dead:
        start(directory)
    return dead


def directory_in_use() -> Path | None:
    """Where the servers are that this command runs on; None if the user has brought both."""
    used = os.environ.get(IN_USE)
    return Path(used) if used else None


@contextlib.contextmanager
def for_command(arguments: list[str]) -> Iterator[None]:
    """Run a management command with DATABASE_URL and REDIS_URL set to servers that answer."""
    if not needs_services(arguments):
        yield
        return
    given = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
    external.check(database_url=given["DATABASE_URL"], redis_url=given["REDIS_URL"])
    os.environ.pop(IN_USE, None)
    if all(given.values()):
        yield
        return
    directory = Path(os.environ.get("LOCKSTEP_DATA") or DIRECTORY)
    with use(directory) as services:
        os.environ[IN_USE] = str(directory)
        if not given["DATABASE_URL"]:
            os.environ["DATABASE_URL"] = services.database_url
            os.environ.setdefault("LOCKSTEP_PSQL", services.psql)
            os.environ.setdefault("DEBUG", "1")  # nobody's users are in our own database
        os.environ["REDIS_URL"] = given["REDIS_URL"] or services.redis_url
        yield


def needs_services(arguments: list[str]) -> bool:
    """Whether the command line `manage.py ARGUMENTS` talks to the database or the bus."""
    if not arguments or {"--help", "-h", "--version"} & set(arguments):
        return False
    if arguments[0] == "perf":  # measures in an environment of its own, with two exceptions
        about_this_one = arguments[1:2] in (["health"], ["reset"])
        return about_this_one and not any(x.startswith("--url") for x in arguments)
    return arguments[0] not in OFFLINE or "--database" in arguments
