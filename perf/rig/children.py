"""Child processes of a run: started in sessions of their own, logged, and always ended.

A Ctrl-C in the terminal reaches only the rig, which then ends its children in order. If the rig
itself is killed, Linux sends most of them a SIGTERM, and `keeper` ends whatever is left: all of
them carry the run's directory in their environment under MARK.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "LOCKSTEP_RIG"  # the variable that names the directory of the run that a process is of
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
STOP_S = 15.0  # a server's own drain takes at most 10 s

_running: set[int] = set()


class RigError(Exception):
    """The rig can't do what was asked; the text is one line with the mend."""


def manage(*arguments: str) -> list[str]:
    """The command line of one of the project's management commands."""
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


async def start(
    command: list[str],
    *,
    env: Mapping[str, str],
    log: Path,
    talks: bool = True,
    listens: bool = False,
) -> asyncio.subprocess.Process:
    """Start a child that writes its stderr to `log`; one that `talks` has a pipe as stdout, one that `listens` as stdin."""
    with log.open("ab") as file:
        return await _start(
            command,
            env,
            stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talks else file.fileno(),
            stderr=file.fileno(),
            dies=True,
        )


async def hold(
    command: list[str], *, env: Mapping[str, str], log: Path
) -> asyncio.subprocess.Process:
    """Start a child with pipes as stdin and stdout, which outlives the rig to clear up after it."""
    with log.open("ab") as file:
        return await _start(
            command,
            env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file.fileno(),
            dies=False,
        )


async def _start(
    command: list[str],
    env: Mapping[str, str],
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    dies: bool,
) -> asyncio.subprocess.Process:
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=_die_with_parent if dies else None,
        limit=2**24,
    )
    if dies:
        _running.add(child.pid)
    return child


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def run(command: list[str], *, env: Mapping[str, str], log: Path, within_s: float) -> bytes:
    """Run a child to its end and return what it printed. Raises RigError with its last words."""
    child = await start(command, env=env, log=log)
    try:
        async with asyncio.timeout(within_s):
            printed, _ = await child.communicate()
    except TimeoutError:
        raise RigError(
            f"`{_short(command)}` took longer than {within_s:.0f} s; see {log}"
        ) from None
    finally:
        await stop(child)
    if child.returncode:
        raise RigError(f"`{_short(command)}` failed: {last_words(log)}")
    return printed


async def stop(child: asyncio.subprocess.Process, *, patience_s: float = STOP_S) -> None:
    """End a child and everything it started: politely, then not."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await child.wait()
    _kill_group(child.pid)
    await child.wait()
    _running.discard(child.pid)


def kill_all() -> None:
    """End every child of this process at once, for who has no patience left."""
    for pid in list(_running):
        _kill_group(pid)


def _kill_group(pid: int) -> None:
    """Kill what is left of a child's session; it began one, so the group has its number."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def last_words(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"it said nothing; see {log}"


def _short(command: list[str]) -> str:
    return " ".join(Path(part).name if "/" in part else part for part in command)[:80]
