"""How many files this process may open, which is how many sockets it may have."""

from __future__ import annotations

import resource
from contextlib import suppress

MOST = 1 << 20  # where a system names no limit


def file_limit() -> int:
    """How many files this process could be allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if hard == resource.RLIM_INFINITY else hard


def raise_file_limit() -> int:
    """Allow this process and its children as many open files as they may have; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system may have a limit beside its limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(file_limit(), MOST), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
