"""A server process as its parent sees it: a process number and two pipes.

By one the parent tells it its number among the processes, and by the end of that pipe that it is gone,
however it went. By the other the process says LOADED, when it waits for its number, and later READY.
`worker` is the process itself.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from io import FileIO
from pathlib import Path
from typing import Self

from project import counters

ROOT = Path(__file__).resolve().parent.parent
LOADED, READY = b"l", b"r"
START_S = 60  # for a process to become ready


class Child:
    """A process that was started. `ended` tidies up after it, so it has to be awaited in the end."""

    def __init__(self, process: Process, *, orders: FileIO, words: FileIO, metrics: str) -> None:
        self._process = process
        self._orders, self._words = orders, words  # our ends of the pipes
        self._metrics = metrics

    @classmethod
    async def spawn(cls, command: list[str], *, metrics: str) -> Self:
        """Start a process that shares its counters in the directory `metrics`. Raises OSError."""
        theirs, orders = os.pipe()
        words, mouth = os.pipe()
        os.set_blocking(words, False)
        ours = {"orders": FileIO(orders, "w"), "words": FileIO(words)}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "project.worker", *command),
                *("--parent-fd", str(theirs), "--words-fd", str(mouth)),
                pass_fds=(theirs, mouth),
                env={
                    **os.environ,
                    counters.VARIABLE: metrics,
                    "PYTHONPATH": _python_path(),
                },
                process_group=0,  # Ctrl-C reaches only us: we end the processes in order
            )
        except BaseException:
            for end in ours.values():
                end.close()
            raise
        finally:
            os.close(theirs)
            os.close(mouth)
        return cls(process, **ours, metrics=metrics)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    def has_loaded(self) -> bool:
        """Whether it waits for its number. To be asked once: its word is taken from the pipe."""
        return self.alive and self._words.read(1) == LOADED

    async def serves(self, number: int) -> bool:
        """Call it in under this number; whether it is ready before it ends or START_S are over."""
        with contextlib.suppress(BrokenPipeError):  # it has just died, and says no more
            self._orders.write(str(number).encode())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                while word := await _next(self._words):
                    if word == READY:
                        return True
        return False

    async def ended(self) -> int:
        """Return its exit code once it has ended."""
        code = await self._process.wait()
        counters.forget(self._process.pid, self._metrics)
        self._orders.close()
        self._words.close()
        return code

    async def end(self, *, patience_s: float) -> bool:
        """SIGTERM, and SIGKILL when it takes too long; whether that was not needed."""
        if self.alive:
            self._process.terminate()
        _, late = await asyncio.wait({asyncio.create_task(self.ended())}, timeout=patience_s)
        if late:
            self._process.kill()
            await asyncio.wait(late)
        return not late


def _python_path() -> str:
    """Where a process finds this program, wherever `serve` was called from."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


async def _next(words: FileIO) -> bytes:
    """Return the next word; nothing when the process has ended."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(words, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(words)
    return words.read(1) or b""
