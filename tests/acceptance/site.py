"""A whole site for tests: `manage.py serve` with servers and data of its own, as `make run` has it."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 60.0  # initdb, migrations and the first request on a busy machine


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A `serve` that answers, its process, and the directory of its servers."""

    address: str
    port: int
    directory: Path
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def serving(directory: Path, *, processes: int = 1, port: int | None = None) -> Iterator[Serving]:
    """Serve until the block ends, with several processes or on a given port."""
    number = port or _free_port()
    own = {"LOCKSTEP_DATA": str(directory), "DEBUG": "1", "DATABASE_URL": "", "REDIS_URL": ""}
    command = [sys.executable, "manage.py", "serve", "--no-spare", "--processes", str(processes)]
    log = directory / "serve.log"
    with log.open("a") as output:
        server = subprocess.Popen(
            [*command, "--port", str(number)],
            cwd=ROOT,
            env=os.environ | own,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{number}/"
    try:
        _await_answer(address, server, log)
        yield Serving(address=address, port=number, directory=directory, process=server)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_answer(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Readiness, not an assertion: the site counts as started with its first answer."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the site did not start: {log.read_text()[-2000:]}")
