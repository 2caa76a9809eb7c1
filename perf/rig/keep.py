"""The keeper's program: `python -m perf.rig.keep DIRECTORY LOGS`. Prints the addresses, then waits; see `keeper`.

Each line that it is told has it start whatever has died; it answers with the pids of both services.

The one module of the engine that knows the project: it starts and stops the project's own services.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from perf.rig import children, cleanup, disks, hosts, template
from perf.rig.children import manage
from project import postgres, services, valkey
from project.home import prepare
from project.services import ServiceError, Services

MIGRATE_S = 120.0
LOOK_S = 1.0  # how often it looks whether the rig still lives
LINE = 64  # bytes: no order is longer


def main(directory: Path, logs: Path) -> None:
    """Hold the services until standard input ends or the rig is gone, then clear up."""
    rig = os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        found = start(directory, logs)
        print(json.dumps(_addresses(found)), flush=True)
        while os.getppid() == rig:
            if select.select([sys.stdin], [], [], LOOK_S)[0]:
                if not os.read(sys.stdin.fileno(), LINE):
                    break
                print(_revived(directory), flush=True)
    except ServiceError as error:
        sys.exit(f"error: {error}")
    finally:
        cleanup.end_processes(directory)
        for log in prepare(directory).directory.glob("*.log"):
            shutil.copyfile(log, logs / log.name)
        clear(directory)


def clear(directory: Path) -> None:
    """Stop both services and remove what the run had: their home, small disks, a host, its directory. Raises ServiceError."""
    home = prepare(directory).directory
    services.stop(directory, delete=True)
    disks.forget(home)
    shutil.rmtree(home, ignore_errors=True)
    hosts.forget(directory)
    shutil.rmtree(directory, ignore_errors=True)


def start(directory: Path, logs: Path) -> Services:
    """Start both servers with a migrated database: a copy of the template, or the next template. Raises ServiceError."""
    home = prepare(directory)
    data, named = home.directory / "postgres", template.name()
    if template.take(named, into=data, uid=home.uid, gid=home.gid):
        try:
            return services.start(directory)
        except ServiceError:  # a template that does not start is worse than none
            template.forget(named)
            services.stop(directory)
            shutil.rmtree(data, ignore_errors=True)
    found = services.start(directory)
    _migrate(found, logs)
    postgres.stop(home)
    template.keep(named, data)
    return services.start(directory)


def _migrate(found: Services, logs: Path) -> None:
    """Make the tables. Raises ServiceError."""
    log = logs / "migrate.log"
    with log.open("ab") as file:
        done = subprocess.run(
            manage("migrate", "-v0"),
            cwd=children.ROOT,
            env={**os.environ, **_addresses(found)},
            stdout=file,
            stderr=file,
            check=False,
            timeout=MIGRATE_S,
        )
    if done.returncode:
        raise ServiceError(f"`manage.py migrate` failed: {children.last_words(log)}")


def _revived(directory: Path) -> str:
    """Start what has died; return the pids as JSON, or what went wrong."""
    home = prepare(directory)
    try:
        services.revive(directory)
    except ServiceError as error:
        return str(error)
    return json.dumps({"postgres": postgres.pid(home), "valkey": valkey.pid(home)})


def _addresses(found: Services) -> dict[str, str]:
    return {"DATABASE_URL": found.database_url, "REDIS_URL": found.redis_url}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
