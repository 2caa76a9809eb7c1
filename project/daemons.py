"""Start, find and stop one server process that outlives us.

A daemon is found again by its pid file. A pid alone proves nothing, since numbers come round
again, so the process must also run the expected program.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from project.errors import ServiceError
from project.home import Home, explain

READY_S = 60  # a start takes well under a second; recovery after a crash under load may not
STOP_S = 20


def spawn(home: Home, command: list[str], *, log: Path) -> subprocess.Popen[bytes]:
    """Start `command` as the home's account, in a session of its own, with a fresh log."""
    if log.exists():
        log.replace(log.with_suffix(".log.old"))
    with open(log, "wb") as output:
        os.chown(log, home.uid, home.gid)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home.directory,
            env=environment(),
            start_new_session=True,
            **identity(home),
        )


def identity(home: Home) -> dict[str, int | list[int]]:
    """The arguments of Popen that change to the home's account; none for an ordinary user."""
    if os.geteuid() != 0:
        return {}
    return {"user": home.uid, "group": home.gid, "extra_groups": []}


def environment() -> dict[str, str]:
    """A small environment: no PG* variable of the user may reach the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def find(pid_file: Path, program: str) -> int | None:
    """Return the pid in `pid_file` if that process lives and runs `program`."""
    try:
        pid = int(pid_file.read_text().split()[0])
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and process.name() == program
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return pid if alive else None


def stop(pid: int, number: signal.Signals) -> None:
    """Send the signal and wait for the end; after STOP_S seconds send SIGKILL."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.send_signal(number)
        try:
            process.wait(STOP_S)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


def wait_until_ready(
    name: str, ready: Callable[[], bool], alive: Callable[[], bool], log: Path
) -> None:
    """Return once `ready()`; raise ServiceError when the process ends or READY_S is over."""
    for _ in pauses(READY_S):
        if ready():
            return
        if not alive():
            raise ServiceError(f"{name} did not start: {_last_words(log)}")
    raise ServiceError(f"{name} was not ready after {READY_S} s: look into {log}.")


def pauses(seconds: float) -> Iterator[None]:
    """Yield at once, then after pauses that grow from 10 to 200 ms, until `seconds` are over."""
    pause, end = 0.01, time.monotonic() + seconds
    yield
    while time.monotonic() < end:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
        yield


def _last_words(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "PANIC" in line or "rror" in line]
    reason = (telling or lines or ["it said nothing"])[-1].split("FATAL:")[-1].strip()
    return explain(reason, log)
