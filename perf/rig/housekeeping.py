"""`perf setup`, `perf cleanup`, `perf reset`: each says what it did, a line each, and gives an exit code."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import psutil
import psycopg

from perf.rig import cleanup, doctor
from perf.rig.children import RigError
from perf.rig.database import Connection, Named, connected, erase, named
from perf.rig.doctor import Check, Grade

HEALTH = "perf-health"  # of the accounts that `perf health` makes; the pid of its rig follows
PREFIXES = ("perf", "load")  # of accounts that only exist to be measured with: ours, `provision`'s
SIGNS: dict[Grade, str] = {"fine": "✓", "warning": "!", "wrong": "✗"}

Say = Callable[[str], None]


async def setup(say: Say) -> int:
    """Look at the machine and prepare it; 1 if something has to be mended before anything can run."""
    checks = doctor.look()
    _show(checks, say)
    prepared = await doctor.prepare()
    _show(prepared, say)
    wrong = [check for check in (*checks, *prepared) if check.grade == "wrong"]
    say("mend what is marked ✗" if wrong else "ready: try `manage.py perf baseline --quick`")
    return 1 if wrong else 0


def _show(checks: Iterable[Check], say: Say) -> None:
    for check in checks:
        mend = f"; {check.mend}" if check.mend else ""
        say(f"{SIGNS[check.grade]} {check.name:<16} {check.found}{mend}")


async def clean_up(say: Say) -> int:
    """Remove what killed runs left: processes, services, directories, and accounts of `perf health`."""
    found = cleanup.leftovers()
    for leftover in found:
        cleanup.remove(leftover)
        count = len(leftover.processes)
        say(f"removed {leftover.directory}, and ended {count} processes")
    if not found:
        say("no run left anything behind")
    if os.environ.get("DATABASE_URL"):
        async for line in _forget(os.environ["DATABASE_URL"], [HEALTH], _is_orphan):
            say(line)
    return 0


async def reset(say: Say, *, prefixes: Sequence[str]) -> int:
    """Remove the accounts of `provision` from this installation, with everything that they said."""
    async for line in _forget(_address(), prefixes, lambda one: True):
        say(line)
    return 0


async def _forget(
    url: str, prefixes: Sequence[str], wanted: Callable[[Named], bool]
) -> AsyncIterator[str]:
    try:
        async with connected(url) as connection:
            async for line in _erase(connection, prefixes, wanted):
                yield line
    except psycopg.Error as error:
        reason = str(error).partition("\n")[0]
        raise RigError(f"the accounts could not be removed: {reason}") from None


async def _erase(
    connection: Connection, prefixes: Sequence[str], wanted: Callable[[Named], bool]
) -> AsyncIterator[str]:
    found = [one for one in await named(connection, prefixes) if wanted(one)]
    made = [one for one in found if one.made]
    doomed = [one.user for one in made if not one.shared]
    if doomed:
        await erase(connection, users=doomed)
    names = " or ".join(f"{prefix}-" for prefix in prefixes)
    yield f"removed {len(doomed)} accounts of `provision` named {names}, with all that they said"
    if kept := [one.name for one in made if one.shared]:
        yield f"kept {len(kept)} that talk with others ({', '.join(kept[:3])} …): remove them by hand"
    if others := [one.name for one in found if not one.made]:
        yield f"left alone {len(others)} that `provision` did not make ({', '.join(others[:3])} …)"


def _is_orphan(one: Named) -> bool:
    """Whether the rig that made this account is gone."""
    pid = one.name.removeprefix(f"{HEALTH}-").partition("-")[0]
    return pid.isdecimal() and not psutil.pid_exists(int(pid))


def _address() -> str:
    if not os.environ.get("DATABASE_URL"):
        raise RigError("DATABASE_URL is not set: run this through manage.py, which sets it")
    return os.environ["DATABASE_URL"]
