"""Tidies this process up and says what it holds: figures that do not depend on what an allocator keeps."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections import Counter

from django.http import HttpRequest, JsonResponse

TYPES = 400  # of the most numerous: what is new among them names a leak


class MallInfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33 and newer, <malloc.h>."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


async def quiescence(request: HttpRequest) -> JsonResponse:
    """Collect garbage, give free memory back, and answer; in the event loop, whose tasks are counted."""
    gc.unfreeze()  # the server keeps what is old out of the collector's sight
    for _ in range(3):  # what a finalizer frees is garbage of the next round
        gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    blocks = sys.getallocatedblocks()
    return JsonResponse(
        {
            "blocks": blocks,
            "in_use": _in_use(libc),
            "tasks": len(asyncio.all_tasks()),
            **_objects(),
        }
    )


def _in_use(libc: ctypes.CDLL) -> int | None:
    """Bytes that malloc has handed out, mapped ones included; None where nobody says."""
    if not hasattr(libc, "mallinfo2"):
        return None
    libc.mallinfo2.restype = MallInfo2
    info = libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def _objects() -> dict[str, object]:
    kinds = Counter(type(one).__qualname__ for one in gc.get_objects())
    return {"objects": sum(kinds.values()), "types": dict(kinds.most_common(TYPES))}
