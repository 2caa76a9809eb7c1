"""One more server process, which has loaded everything and waits: it takes the place of one that dies.

To load takes two seconds of CPU, for which devices would wait. The spare does it at a low priority, and only
when no process was started for REST_S. It holds the program as it was then: after a deploy it is `drop`ped.
"""

import asyncio
import contextlib
import logging
import time

from project.child import Child

logger = logging.getLogger(__name__)

REST_S = 10.0  # devices that come back have what they lack by then
LOOK_S = 0.25


class Spare:
    """The process that waits, if there is one."""

    def __init__(self, command: list[str], metrics: str, *, wanted: bool) -> None:
        self._command = [*command, "--spare"]
        self._metrics = metrics
        self._wanted = wanted
        self._child: Child | None = None
        self._due = 0.0  # when one may be started

    async def keep(self) -> None:
        """Have one, always; return at once if none is wanted."""
        self.rest()
        while self._wanted:
            await asyncio.sleep(LOOK_S)
            if self._child is not None and not self._child.alive:
                said = "the spare process ended (exit code %s); a new one starts in %g s"
                logger.error(said, await self._child.ended(), REST_S)
                self._child = None
                self.rest()
            if self._child is None and time.monotonic() > self._due:
                await self._start()

    def rest(self) -> None:
        """Start none for a while: another process was started, and devices come to it."""
        self._due = time.monotonic() + REST_S

    async def take(self) -> Child | None:
        """The process, which is the caller's from now on; None if there is none that has loaded everything."""
        child, self._child = self._child, None
        self.rest()
        if child is None or child.has_loaded():
            return child
        await child.end(patience_s=0)  # it would take CPU from the one that is started instead
        return None

    async def drop(self) -> None:
        """End it; another one is started after a while."""
        child, self._child = self._child, None
        self.rest()
        if child is not None:
            await child.end(patience_s=0)

    async def _start(self) -> None:
        self.rest()  # before the next one, should this one not live
        with contextlib.suppress(OSError):  # the machine is short of processes
            self._child = await Child.spawn(self._command, metrics=self._metrics)
