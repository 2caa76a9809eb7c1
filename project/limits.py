"""The numbers that both ASGI servers are told, and how much of the machine and of the database there is for them."""

import os

WARM_UP_S = 5.0  # for a process to reach the database before it listens
DRAIN_S = 8.0  # commit, ack and goodbye; then sockets are cut
GRACE_S = 4  # seconds that requests get to finish after the drain
STOP_S = DRAIN_S + GRACE_S + 3  # after that the parent sends SIGKILL
PING_S = 20.0  # between pings to a silent client
PING_TIMEOUT_S = 30.0  # a client that answers no ping for so long is gone
ACCEPTS_A_TURN = (
    8  # of uvloop's event loop; a handshake takes 1 to 2 ms, and those inside wait meanwhile
)
HEAD_S = 5.0  # for the head of a request, from the connection on: as long as for a hello
MAX_FRAME_BYTES = 2**20  # the protocol's own limits are far below
FRAGMENTS = 1_024  # of one message: empty ones count nothing against its bytes, and would never end
BACKLOG = 2048  # connections that wait while a process is busy, for example in a reconnect storm
LAST_LOOK_S = 1.0  # at what still comes of a frame that is too large, so that its sender hears why
LAST_WORDS_S = 0.05  # for the kernel to take a goodbye; the rest for a revoked device is dropped
CONNECTIONS = (
    20  # to the database, of a process at most: 8 of the pool, about 10 of its own, and some
)


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
