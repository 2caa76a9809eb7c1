"""PostgreSQL and Valkey of a run, held by a process of their own that clears up after the rig.

The keeper (`keep` is its program) lives as long as the rig's end of a pipe is open. Then, whatever became of the rig, it
ends every process of the run, stops both services, keeps their logs, and deletes the directory.
If it was killed itself, the rig does that. A line through the pipe has it start what has died.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perf.rig import children, cleanup
from perf.rig.children import MARK, RigError

READY_S = 180.0  # a first start of PostgreSQL on a slow disk, and its migrations


class Pids(msgspec.Struct, frozen=True, kw_only=True):
    """The main processes of the two services."""

    postgres: int
    valkey: int


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Services that are held: their DATABASE_URL and REDIS_URL, and the keeper's process."""

    addresses: dict[str, str]
    _child: asyncio.subprocess.Process

    async def revive(self) -> Pids:
        """Start whichever of the two has died, wait until it answers, and say who they are. Raises RigError.

        Nobody else starts them anew. One at a time.
        """
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"revive\n")
        try:
            async with asyncio.timeout(READY_S):
                line = await self._child.stdout.readline()
        except TimeoutError:
            raise RigError(f"the services did not come back within {READY_S:.0f} s") from None
        try:
            return msgspec.json.decode(line, type=Pids)
        except msgspec.DecodeError:
            words = line.decode(errors="replace").strip() or "their keeper has ended"
            raise RigError(f"the services did not come back: {words}") from None


@asynccontextmanager
async def services(directory: Path, *, logs: Path) -> AsyncIterator[Kept]:
    """PostgreSQL, migrated, and Valkey in `directory`. Raises RigError.

    Afterwards the directory is gone, with every process that is marked with it.
    """
    log = logs / "services.log"
    command = [sys.executable, "-m", "perf.rig.keep", str(directory), str(logs)]
    child = await children.hold(command, env={MARK: str(directory)}, log=log)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            line = await child.stdout.readline()
        if not line:
            raise RigError(children.last_words(log))
        cleanup.note_addresses(directory, line)
        yield Kept(addresses=msgspec.json.decode(line, type=dict[str, str]), _child=child)
    except TimeoutError:
        raise RigError(f"PostgreSQL and Valkey did not start within {READY_S:.0f} s") from None
    finally:
        child.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(children.STOP_S):
                await child.wait()
        await children.stop(child)
        if child.returncode:  # it was killed, or is broken: its work is done in its place
            left = cleanup.Leftover(directory=directory, processes=())
            await asyncio.to_thread(cleanup.remove, left)
