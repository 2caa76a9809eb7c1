"""PostgreSQL and Valkey for whoever has not brought their own.

With DATABASE_URL or REDIS_URL set, that server is used. For whichever is not, a real one from a wheel runs
with its data in `.lockstep/` beside manage.py. Ours outlive a crash of their starter and are
found again; the last user who leaves in peace stops them, and `serve` has those that died start anew.
`postgres` and `valkey` know the two servers, `home` knows where they live.
"""

import contextlib
import fcntl
import os
import shlex
from collections.abc import Collection, Iterator
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
    "names_in_use",
    "revive",
    "start",
    "stop",
    "use",
]

DIRECTORY = Path(__file__).resolve().parent.parent / ".lockstep"
IN_USE = "LOCKSTEP_SERVICES"  # set for the command: the directory of the servers it runs on

SERVERS = {"PostgreSQL": postgres, "Valkey": valkey}  # in the order in which they are started
VARIABLES = {
    "PostgreSQL": "DATABASE_URL",
    "Valkey": "REDIS_URL",
}  # with which the user names another one

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
    home: Home

    @property
    def psql(self) -> str:
        """The command line of psql on the database, as a shell takes it."""
        return shlex.join([postgres.psql(self.home), self.database_url])


def locate(directory: Path) -> Services:
    """Return the addresses of the servers of `directory`, running or not."""
    home = prepare(directory)
    return Services(
        database_url=postgres.url(home),
        redis_url=valkey.url(home),
        home=home,
    )


def start(directory: Path, names: Collection[str] = tuple(SERVERS)) -> Services:
    """Start the servers with these names, or adopt those that run. Safe when two processes do it at once."""
    services = locate(directory)
    with one_line_errors(directory), daemons.lock(services.home, "start.lock", fcntl.LOCK_EX):
        for name, server in SERVERS.items():
            if name in names:
                server.start(services.home)
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
def use(directory: Path, names: Collection[str] = tuple(SERVERS)) -> Iterator[Services]:
    """Start or adopt the servers with these names; on the way out stop all there are unless another process uses them."""
    home = prepare(directory)
    with daemons.lock(home, "users.lock", fcntl.LOCK_SH) as file:
        try:
            yield start(directory, names)
        finally:
            with (
                daemons.lock(home, "start.lock", fcntl.LOCK_EX),
                contextlib.suppress(BlockingIOError),
            ):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                valkey.stop(home)
                postgres.stop(home)


def revive(directory: Path, names: Collection[str] = tuple(SERVERS)) -> list[str]:
    """Start whichever server with one of these names has died; return the names of those that had.

    Takes as long as a start: Valkey's some ms, PostgreSQL's until it has recovered. Raises
    ServiceError when one can't be started. Call it only inside `use`, where nobody else stops them.
    """
    if not directory.exists():  # a new one would be empty
        raise ServiceError(f"{directory} is gone: end serve, and start it anew.")
    home = prepare(directory)
    dead = [name for name in names if SERVERS[name].pid(home) is None]
    if dead:
        start(directory, dead)
    return dead


def directory_in_use() -> Path | None:
    """Where the servers are that this command runs on; None if the user has brought both."""
    used = os.environ.get(IN_USE)
    return Path(used) if used else None


def names_in_use(directory: Path) -> list[str]:
    """The servers of `directory` at whose addresses this command works."""
    home = prepare(directory)
    addresses = [os.environ.get(variable) for variable in VARIABLES.values()]
    return [name for name, server in SERVERS.items() if server.url(home) in addresses]


@contextlib.contextmanager
def for_command(arguments: list[str]) -> Iterator[None]:
    """Run a management command with DATABASE_URL and REDIS_URL set to servers that answer."""
    if not needs_services(arguments):
        yield
        return
    given = {variable: os.environ.get(variable, "") for variable in VARIABLES.values()}
    external.check(database_url=given["DATABASE_URL"], redis_url=given["REDIS_URL"])
    os.environ.pop(IN_USE, None)
    wanted = [name for name, variable in VARIABLES.items() if not given[variable]]
    if not wanted:
        yield
        return
    directory = Path(os.environ.get("LOCKSTEP_DATA") or DIRECTORY)
    with use(directory, wanted) as services:
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
