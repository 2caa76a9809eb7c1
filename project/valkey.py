"""The embedded Valkey: started, adopted and stopped.

It keeps nothing on disk: the channel layer is only a hint, and the truth is in PostgreSQL.
"""

import signal
from pathlib import Path

import redis

from project import daemons
from project.errors import ServiceError
from project.home import Home

OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "no",
    # Two processes that are busy for a moment must not lose their subscription: the default
    # is 32mb 8mb 60 (hard limit, soft limit, seconds over the soft one).
    "client-output-buffer-limit": "pubsub 256mb 64mb 60",
}


def url(home: Home) -> str:
    """The address, as REDIS_URL takes it."""
    return f"unix://{_socket(home)}?db=0"


def pid(home: Home) -> int | None:
    """The pid of the running server, else None."""
    return daemons.find(_pid_file(home), "valkey-server", at=home.directory)


def start(home: Home) -> None:
    """Start it or adopt the running one, and wait until it answers."""
    log = home.directory / "valkey.log"
    number = pid(home)
    if number is None:
        dead = [_pid_file(home)]
        number = daemons.spawn("Valkey", home, _command(home), log=log, dead=dead)
    daemons.wait_until_ready("Valkey", number, ready=lambda: _answers(home), log=log)
    if pid(home) is None:  # nobody would find it again, and the next start would be of another one
        daemons.stop(number, signal.SIGTERM)
        raise ServiceError(f"Valkey could not write {_pid_file(home)}: is the disk full?")


def stop(home: Home) -> None:
    """Stop it; there is nothing to save."""
    if (number := pid(home)) is not None:
        daemons.stop(number, signal.SIGTERM)


def _socket(home: Home) -> Path:
    return home.sockets / "valkey.sock"


def _pid_file(home: Home) -> Path:
    return home.directory / "valkey.pid"


def _command(home: Home) -> list[str]:
    places = {
        "dir": str(home.directory),
        "pidfile": str(_pid_file(home)),
        "unixsocket": str(_socket(home)),
    }
    flags = [part for key, value in {**OPTIONS, **places}.items() for part in (f"--{key}", value)]
    return [str(home.valkey_server), *flags]


def _answers(home: Home) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(_socket(home)), socket_timeout=5) as client:
            return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False
