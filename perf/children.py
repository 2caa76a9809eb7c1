"""Child processes of a run: started in sessions of their own, logged, and always ended.

A Ctrl-C in the terminal reaches only the rig, which then ends its children in order. If the rig
itself is killed, a child with a pipe notices its end, and on Linux the others get a SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
STOP_S = 15.0  # a server's own drain takes at most 10 s


class RigError(Exception):
    """The rig can't do what was asked; the text is one line with the mend."""


def manage(*arguments: str) -> list[str]:
    """The command line of one of the project's management commands."""
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


async def start(
    command: list[str], *, env: Mapping[str, str], log: Path, stdin: bool = False
) -> asyncio.subprocess.Process:
    """Start a child whose stdout is a pipe and whose stderr goes to `log`."""
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            start_new_session=True,
            preexec_fn=None if stdin else _die_with_parent,
            limit=2**24,
        )


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


async def stop(child: asyncio.subprocess.Process) -> None:
    """End a child and everything it started: politely, then not."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await child.wait()
        except TimeoutError:
            pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


def last_words(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else f"it said nothing; see {log}"


def _short(command: list[str]) -> str:
    return " ".join(Path(part).name if "/" in part else part for part in command)[:80]
