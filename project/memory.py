"""Keeps a process that lives for weeks with thousands of sessions from standing still, and from growing.

Python's collector, left alone, looks at everything again whenever a quarter has been added: with 10,000
sessions a second in which nobody is served. So what is old is kept out of its sight. glibc keeps whatever
lies below a block in use: what a thousand slow readers once needed would count as ours for ever, and the
next thousand's comes on top of it, because the holes do not fit. So what is free goes back to the system.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 1.0
LONG_S = 0.01  # a look that takes longer has found so much alive that it is looked at no more
COMPLETE_S = 600.0  # from one look at everything to the next, at least: 1.4 s with 10,000 sessions
MORE = 1.25  # times the memory after the last look at everything, before there is another
NEVER = 2**31 - 1

EVERY_S = 5.0
GROWN_BYTES = 8 * 2**20  # less is not worth the 0.6 ms a MB for which nobody else can allocate

_STATM = Path("/proc/self/statm")


def begin() -> None:
    """Take both over, in the running event loop, when everything is loaded."""
    Collector().begin()
    # glibc's; ctypes lets others run meanwhile
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None and _STATM.exists():
        threading.Thread(target=_run, args=(Keeper(trim),), name="memory", daemon=True).start()


class Collector:
    """Looks for garbage among what is new, and rarely at everything.

    A session that ends is freed without it. What was old when it became garbage waits for a look at
    everything, which comes if the process has grown since the last one.
    """

    def __init__(self) -> None:
        self._complete_at = 0.0  # the last look at everything, by the monotonic clock
        self._resident = 0  # bytes after it

    def begin(self) -> None:
        """Take what is loaded now for old, and look every LOOK_S, from the running event loop.

        What a loop made, it has to free. All of Django is loaded: to walk it takes 30 ms, for which messages would wait.
        """
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, NEVER)
        self.look_at_everything()
        self._come_again(asyncio.get_running_loop())

    def look(self) -> None:
        """Look at what has got old since the last time, or at everything if it may be worth it."""
        if not gc.get_count()[2]:
            return
        if time.monotonic() - self._complete_at > COMPLETE_S and resident() > MORE * self._resident:
            self.look_at_everything()
            return
        began = time.perf_counter()
        gc.collect()
        if time.perf_counter() - began > LONG_S:
            gc.freeze()

    def look_at_everything(self) -> None:
        """Free all garbage there is; what is left is old."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._complete_at, self._resident = time.monotonic(), resident()

    def _come_again(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(LOOK_S, self._come_again, loop)
        self.look()


class Keeper:
    """Gives back when the process has grown since the last time, whatever of it is free."""

    def __init__(self, trim: Callable[[int], object]) -> None:
        self._trim = trim
        self._least = resident()

    def look(self) -> None:
        """Give back if it may be worth it."""
        now = resident()
        if now > self._least + GROWN_BYTES:
            self._trim(0)
            now = self._least = resident()  # what is left is in use
        self._least = min(self._least, now)


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def _run(keeper: Keeper) -> None:
    while True:
        time.sleep(EVERY_S)
        keeper.look()
