"""The parent of the server processes: starts them, replaces the dead, ends them in time.

PostgreSQL and Valkey of our own are started anew, too: `revive` does it, here is only the watch.

It serves nothing itself. A process that dies while it starts for the first time is an error of
the installation, so everything ends then; one that dies later is replaced by the `spare`, or started anew
when that has not loaded yet, after a pause that grows while it keeps dying.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable

from project import counters
from project.child import Child
from project.errors import ServiceError
from project.limits import STOP_S
from project.spare import Spare

logger = logging.getLogger(__name__)

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # the last: its terminal was closed
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
WATCH_S = 0.25  # between two looks at servers of our own: a look reads two small files
HEALTHY_S = 10.0  # a process that lived so long is started anew without a long pause


def supervise(
    *,
    server: str,
    host: str,
    port: int,
    processes: int,
    lame_duck_s: float = 0.0,
    has_spare: bool = True,
    ready: Callable[[], None],
    revive: Callable[[], list[str]] | None = None,
) -> None:
    """Run `processes` servers until one of ENDS; call `ready` once when all of them serve.

    For `lame_duck_s` seconds after the signal they say on `/readyz` that they are about to end, and go on serving.

    `revive` is called again and again, in a thread: it starts services that have died and names them.
    Raises ServiceError when a process does not become ready at first.
    """
    command = ["--server", server, "--host", host, "--port", str(port)]
    command += ["--lame-duck", str(lame_duck_s)]
    with counters.directory() as metrics:
        spare = Spare(command, metrics, wanted=has_spare)
        slots = [
            Slot(command, number, metrics, spare, patience_s=lame_duck_s + STOP_S)
            for number in range(1, processes + 1)
        ]
        asyncio.run(_supervise(slots, spare, ready, revive))


async def _supervise(
    slots: "list[Slot]",
    spare: Spare,
    ready: Callable[[], None],
    revive: Callable[[], list[str]] | None,
) -> None:
    work = asyncio.create_task(_start_and_keep(slots, spare, ready))
    watch = asyncio.create_task(_keep_services(revive)) if revive is not None else None
    loop = asyncio.get_running_loop()
    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        pass
    finally:
        for number in ENDS:  # again: our services are still to be stopped, after this
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        await asyncio.gather(spare.drop(), *(slot.stop() for slot in slots))
        if watch is not None:
            watch.cancel()


async def _keep_services(revive: Callable[[], list[str]]) -> None:
    """Have services of our own that died started anew, with a pause that grows while that fails."""
    pause = WATCH_S
    while True:
        await asyncio.sleep(pause)
        try:
            for name in await asyncio.to_thread(revive):
                logger.error("%s had died; it was started anew", name)
            pause = WATCH_S
        except Exception as error:  # the servers wait for it; the next turn says so again
            pause = min(pause * 2, LONGEST_PAUSE_S)
            logger.error("a service can't be started anew: %s", error)  # noqa: TRY400 - one line


async def _start_and_keep(slots: "list[Slot]", spare: Spare, ready: Callable[[], None]) -> None:
    await asyncio.gather(*(slot.start() for slot in slots))
    ready()
    await asyncio.gather(spare.keep(), *(slot.keep() for slot in slots))


class Slot:
    """One place among the processes, and the process that fills it now."""

    def __init__(
        self, command: list[str], number: int, metrics: str, spare: Spare, *, patience_s: float
    ) -> None:
        self._command = command
        self._patience_s = patience_s
        self._metrics = metrics  # the directory in which the processes share their counters
        self._number = number
        self._spare = spare
        self._child: Child | None = None

    async def start(self) -> None:
        """Fill the place and return when the process serves; raises ServiceError when it does not."""
        try:
            child = await self._spare.take()
            self._child = child or await Child.spawn(self._command, metrics=self._metrics)
            if not await self._child.serves(self._number):
                raise ServiceError(
                    f"Server process {self._number} did not become ready: its lines above say why."
                )
        finally:
            self._spare.rest()

    async def keep(self) -> None:
        """Fill the place anew whenever its process has died."""
        pause = FIRST_PAUSE_S
        while self._child is not None:
            began = time.monotonic()
            code = await self._child.ended()
            if time.monotonic() - began > HEALTHY_S:
                pause = FIRST_PAUSE_S
            said = "server process %s ended (exit code %s); a new one starts in %.1f s"
            by_order = code == 0  # somebody sent it SIGTERM: a deploy, one process after the other
            logger.log(logging.INFO if by_order else logging.ERROR, said, self._number, code, pause)
            if by_order:
                await self._spare.drop()  # what is started now reads the program as it is now
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            # It has died again, or the machine is short of processes: the next turn says so.
            with contextlib.suppress(ServiceError, OSError):
                await self.start()

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when it takes too long."""
        if self._child is not None and not await self._child.end(patience_s=self._patience_s):
            logger.error("server process %s did not end in %g s", self._number, self._patience_s)
