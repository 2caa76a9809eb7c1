"""Start, find and stop one server process that outlives us.

A daemon is found again by its pid file. A pid alone proves nothing, since numbers come round
again, so the process must also run the expected program, in the directory that it was given.
Nor does a number that is nobody's, since another container or machine has numbers of its own: a daemon
holds a lock of the kernel as long as any process of it lives.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil

from project.errors import ServiceError
from project.home import Home, explain, one_line_errors

READY_S = 60  # a start takes well under a second; recovery after a crash under load may not
STOP_S = 20
GONE_S = 2  # for the last thread of a server whose first one has ended
LOG_BYTES = 65_536  # with less room than this a server can't even say what it lacks


def spawn(name: str, home: Home, command: list[str], *, log: Path, dead: Iterable[Path]) -> int:
    """Start `command` in a session of its own, with a fresh log and without the `dead` one's files; return its pid.

    The shell in between ends at once, so the server is nobody's child: it survives its starter,
    and no zombie of it stays with us. Raises ServiceError if one runs where we don't see it, or none can be started.
    """
    with lock(home, f"{log.stem}.lock", fcntl.LOCK_UN) as held:
        if not _is_ours(held):
            raise ServiceError(
                f"{home.directory} is in use by a {name} of another container or machine: "
                "do this where that one runs, or set DATABASE_URL and REDIS_URL."
            )
        for file in dead:
            file.unlink(missing_ok=True)
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        shell = ["/bin/sh", "-c", 'umask 077; "$@" >"$0" 2>&1 & echo $!', str(log)]
        result = run(home, [*shell, *command], keeps=(held,))
        if not result.stdout:  # the shell could not start it
            raise ServiceError(explain(result.stderr.strip().rpartition("\n")[2], home.directory))
        return int(result.stdout)


def _is_ours(held: int) -> bool:
    """Take the lock of this open file, unless somebody keeps it."""
    for _ in pauses(GONE_S):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


@contextlib.contextmanager
def lock(home: Home, name: str, mode: int) -> Iterator[int]:
    """Hold a lock that the kernel lets go when this process, and whoever it gave it to, ends, however that is."""
    with one_line_errors(home.directory):
        file = os.open(home.directory / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.geteuid() == 0:
            os.fchown(file, home.uid, home.gid)  # the next start may be its owner's
        fcntl.flock(file, mode)
        yield file
    finally:
        os.close(file)


def run(
    home: Home, command: list[str], *, keeps: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `command` as the home's account, with these files open; return what it printed."""
    root = os.geteuid() == 0
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=home.directory,
        env=environment(),
        start_new_session=True,
        user=home.uid if root else None,
        group=home.gid if root else None,
        extra_groups=[] if root else None,
        pass_fds=keeps,
    )


def environment() -> dict[str, str]:
    """A small environment: no PG* variable of the user may reach the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def find(pid_file: Path, program: str, *, at: Path) -> int | None:
    """Return the pid in `pid_file` if that process lives and runs `program` in the directory `at`.

    In doubt it is the one: a second server on the same data would be worse than to wait for a stranger.
    """
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        same = process.name() == program and process.uids().real == pid_file.stat().st_uid
        found = same and alive(process.pid) and works_in(process, at) is not False
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return process.pid if found else None


def works_in(process: psutil.Process, directory: Path) -> bool | None:
    """Whether a process works in this directory; None if the system does not say."""
    try:
        return Path(process.cwd()) == directory.resolve()
    except (psutil.Error, OSError):
        return None


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(pid: int, number: signal.Signals) -> None:
    """Send the signal and wait for the end; after STOP_S seconds send SIGKILL."""
    for attempt in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, attempt)
        for _ in pauses(STOP_S):
            if not alive(pid):
                return


def wait_until_ready(name: str, pid: int, *, ready: Callable[[], bool], log: Path) -> None:
    """Return once `ready()`; raise ServiceError when the process ends or READY_S is over."""
    for _ in pauses(READY_S):
        if ready():
            return
        if not alive(pid):
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
    silence = "it said nothing"
    if shutil.disk_usage(log.parent).free < LOG_BYTES:
        silence = os.strerror(errno.ENOSPC)  # it could not say it
    reason = (telling or lines or [silence])[-1].split("FATAL:")[-1].strip()
    return explain(reason, log)
