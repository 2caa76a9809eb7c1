"""Gives memory that is free again back to the system: glibc keeps whatever lies below a block in use.

What a thousand slow readers once needed would otherwise count as ours for ever, and the next thousand's
comes on top of it, because the holes do not fit.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

EVERY_S = 5.0
GROWN_BYTES = 8 * 2**20  # less is not worth the 0.6 ms a MB for which nobody else can allocate

_STATM = Path("/proc/self/statm")


def begin() -> None:
    """Look every few seconds, in a thread of its own; nothing where the C library can't give back."""
    trim = getattr(
        ctypes.CDLL(None), "malloc_trim", None
    )  # glibc's; ctypes lets others run meanwhile
    if trim is not None and _STATM.exists():
        threading.Thread(target=_run, args=(Keeper(trim),), name="memory", daemon=True).start()


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
    """Bytes of this process in memory."""
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _run(keeper: Keeper) -> None:
    while True:
        time.sleep(EVERY_S)
        keeper.look()
