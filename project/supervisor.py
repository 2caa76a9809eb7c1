"""The parent of the server processes: starts them, restarts the dead, ends them in time.

PostgreSQL and Valkey of our own are started anew, too: `revive` does it, here is only the watch.

It serves nothing itself. A process that dies while it starts for the first time is an error of
the installation, so everything ends then; one that dies later is started anew, after a pause
that grows while it keeps dying.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from project import daemons
from project.errors import ServiceError
from project.limits import STOP_S

logger = logging.getLogger(__name__)

START_S = 60  # for one process to become ready
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
WATCH_S = 0.25  # between two looks at servers of our own: a look reads two small files
COUNTERS = "lockstep-metrics-"  # then the supervisor's process number
HEALTHY_S = 10.0  # a process that lived so long is started anew without a long pause


def supervise(
    *,
    server: str,
    host: str,
    port: int,
    processes: int,
    lame_duck_s: float = 0.0,
    ready: Callable[[], None],
    revive: Callable[[], list[str]] | None = None,
) -> None:
    """Run `processes` servers until SIGTERM or SIGINT; call `ready` once when all of them serve.

    For `lame_duck_s` seconds after the signal they say on `/readyz` that they are about to end, and go on serving.

    `revive` is called again and again, in a thread: it starts services that have died and names them.
    Raises ServiceError when a process does not become ready at first.
    """
    command = ["--server", server, "--host", host, "--port", str(port)]
    command += ["--lame-duck", str(lame_duck_s)]
    clear_counters()
    with tempfile.TemporaryDirectory(prefix=f"{COUNTERS}{os.getpid()}-") as metrics:
        slots = [
            Slot(command, number, metrics, patience_s=lame_duck_s + STOP_S)
            for number in range(1, processes + 1)
        ]
        asyncio.run(_supervise(slots, ready, revive))


def clear_counters() -> None:
    """Remove what supervisors that were killed left of their processes' counters."""
    for left in Path(tempfile.gettempdir()).glob(f"{COUNTERS}*-*"):
        owner = left.name.removeprefix(COUNTERS).partition("-")[0]
        if owner.isdecimal() and not daemons.alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)  # another user's stays


async def _supervise(
    slots: "list[Slot]", ready: Callable[[], None], revive: Callable[[], list[str]] | None
) -> None:
    work = asyncio.create_task(_start_and_keep(slots, ready))
    watch = asyncio.create_task(_keep_services(revive)) if revive is not None else None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        pass
    finally:
        await asyncio.gather(*(slot.stop() for slot in slots))
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


async def _start_and_keep(slots: "list[Slot]", ready: Callable[[], None]) -> None:
    await asyncio.gather(*(slot.start() for slot in slots))
    ready()
    await asyncio.gather(*(slot.keep() for slot in slots))


class Slot:
    """One place among the processes, and the process that fills it now."""

    def __init__(self, command: list[str], number: int, metrics: str, *, patience_s: float) -> None:
        self._command = command
        self._patience_s = patience_s
        self._metrics = metrics  # the directory in which the processes share their counters
        self._number = number
        self._process: Process | None = None
        # The process reads this pipe; its end tells it that we are gone, however we went.
        self._life, self._ours = os.pipe()

    async def start(self) -> None:
        """Start a process and return when it serves; raises ServiceError when it does not."""
        ready, theirs = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "project.worker", *self._command),
                *("--ready-fd", str(theirs), "--parent-fd", str(self._life)),
                pass_fds=(theirs, self._life),
                env={
                    **os.environ,
                    "PGAPPNAME": f"lockstep serve {self._number}",
                    "PROMETHEUS_MULTIPROC_DIR": self._metrics,
                },
                process_group=0,  # Ctrl-C reaches only us: we end the processes in order
            )
        finally:
            os.close(theirs)
        try:
            said = await _first_byte(ready)
        finally:
            os.close(ready)
        if not said:
            raise ServiceError(
                f"Server process {self._number} did not become ready: its lines above say why."
            )

    async def keep(self) -> None:
        """Start the process anew whenever it has died."""
        pause = FIRST_PAUSE_S
        while self._process is not None:
            began = time.monotonic()
            code = await self._process.wait()
            # Its gauges count no more.
            mark_process_dead(self._process.pid, self._metrics)  # type: ignore[no-untyped-call]
            if time.monotonic() - began > HEALTHY_S:
                pause = FIRST_PAUSE_S
            said = "server process %s ended (exit code %s); a new one starts in %.1f s"
            by_order = code == 0  # somebody sent it SIGTERM: a deploy, one process after the other
            logger.log(logging.INFO if by_order else logging.ERROR, said, self._number, code, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            # It has died again, or the machine is short of processes: the next turn says so.
            with contextlib.suppress(ServiceError, OSError):
                await self.start()

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when it takes too long."""
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            _, late = await asyncio.wait(
                {asyncio.create_task(process.wait())}, timeout=self._patience_s
            )
            if late:
                logger.error(
                    "server process %s did not end in %g s", self._number, self._patience_s
                )
                process.kill()
            await process.wait()


async def _first_byte(descriptor: int) -> bytes:
    """Return the first byte of the pipe; nothing when it ended or START_S is over."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout(START_S):
            await readable.wait()
        return os.read(descriptor, 1)
    except TimeoutError:
        return b""
    finally:
        loop.remove_reader(descriptor)
