"""What is free goes back to the system, even from between what is in use, and nobody waits for the collector."""

import subprocess
import sys

GIVES_BACK = """
import ctypes
from project import memory

trims = []
def trim(pad):
    trims.append(pad)
    return ctypes.CDLL(None).malloc_trim(pad)

keeper = memory.Keeper(trim)
keeper.look()
assert trims == []                       # nothing has grown
blocks = [b"x" * 20_000 for _ in range(5_000)]
kept = blocks[::100]
del blocks
full = memory.resident()
keeper.look()
freed = full - memory.resident()
keeper.look()
assert trims == [0]                      # what is left is in use: not again
assert freed > 80_000_000, freed
"""


COLLECTS = """
import asyncio, gc, weakref
from project import memory

class Node:
    pass

def ring():
    node = Node()
    node.itself = node
    return node

def full_collections():
    return gc.get_stats()[2]["collections"]

async def main():
    collector = memory.Collector()
    collector.begin()
    begun = full_collections()
    sessions = [[] for _ in range(500_000)]      # Python alone looks at all of them, again and again
    assert full_collections() == begun
    memory.LONG_S = 0.0                          # as on a slow machine
    collector.look()
    assert full_collections() == begun + 1
    assert gc.get_freeze_count() > 500_000       # they took long to look at: never again
    collector.look()
    assert full_collections() == begun + 1       # nothing has got old since

    new, old = ring(), ring()
    known = weakref.ref(new), weakref.ref(old)
    del new
    gc.collect(1)                                # what is alive gets old
    collector.look()
    assert known[0]() is None
    gc.freeze()
    del old
    more = [[] for _ in range(10_000)]
    collector.look()
    assert known[1]() is not None                # out of sight
    memory.COMPLETE_S = memory.MORE = 0
    more += [[] for _ in range(10_000)]
    collector.look()
    assert known[1]() is None

asyncio.run(main())
"""


def succeeds(script: str) -> None:
    """In a process of its own, whose memory and collector are nobody else's."""
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_memory_between_blocks_in_use_is_given_back_once_it_has_grown() -> None:
    succeeds(GIVES_BACK)


def test_the_collector_looks_at_what_is_new_and_at_everything_only_when_memory_has_grown() -> None:
    succeeds(COLLECTS)
