"""What is free goes back to the system, even from between what is in use."""

import subprocess
import sys

SCRIPT = """
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


def test_memory_between_blocks_in_use_is_given_back_once_it_has_grown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
