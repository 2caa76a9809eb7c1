"""PostgreSQL and Valkey of a run, held by a process of their own that clears up after the rig.

The keeper (`keep` is its program) lives as long as the rig's end of a pipe is open. Then, whatever became of the rig, it
ends every process of the run, stops both services, keeps their logs, and deletes the directory.
If it was killed itself, the rig does that.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from perf.rig import children, cleanup
from perf.rig.children import MARK, RigError

READY_S = 180.0  # a first start of PostgreSQL on a slow disk, and its migrations


@asynccontextmanager
async def services(directory: Path, *, logs: Path) -> AsyncIterator[dict[str, str]]:
    """PostgreSQL, migrated, and Valkey in `directory`: their DATABASE_URL and REDIS_URL. Raises RigError.

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
        yield msgspec.json.decode(line, type=dict[str, str])
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
