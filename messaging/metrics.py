"""What this process counts and times, in Prometheus' terms; `/metrics` shows all processes together.

With several processes `PROMETHEUS_MULTIPROC_DIR` must name a directory of theirs (`serve` makes one).
Gauges that are read off the engine once a second are set in `gauges`. What each is good for, and what to
do when it is bad: `deploy/alerts.yml` and `docs/runbooks`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

# Seconds. The limits of the targets (100 and 200 ms) and goals (5 and 20 ms) are bucket bounds.
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# Writes in one transaction; the journal takes at most `batching.BATCH_ROWS`.
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)

statement_seconds = Histogram(
    "lockstep_statement_seconds",
    "Time of database statements, from the call to the answer.",
    ["statement"],
    buckets=BUCKETS,
)
write_seconds = Histogram(
    "lockstep_write_seconds",
    "The longest that a write of each transaction waited, from its frame to its answer.",
    buckets=BUCKETS,
)
batch_writes = Histogram(
    "lockstep_batch_writes", "Writes committed together in one transaction.", buckets=SIZES
)
hello_seconds = Histogram(
    "lockstep_hello_seconds",
    "From a client's hello until its session is open, of those that were let in.",
    buckets=BUCKETS,
)
request_seconds = Histogram(
    "lockstep_request_seconds",
    "HTTP requests, from the first byte of the head to the last of the answer.",
    ["method", "status"],
    buckets=BUCKETS,
)
refusals = Counter(
    "lockstep_refusals",
    "Requests that were refused, by code and by where they came in.",
    ["code", "via"],
)
closes = Counter(
    "lockstep_closes",
    "WebSocket connections that ended: the reason in goodbye, or `client` if we had no say.",
    ["reason"],
)
repairs = Counter(
    "lockstep_repairs",
    "Conversations read from the database because a hint was lost: a `hole` that stayed, or found by a `pass`.",
    ["found"],
)
batches = Counter("lockstep_batches", "Transactions of the journal.")
marks = Counter("lockstep_marks", "Marks stored.")
deliveries = Counter("lockstep_deliveries", "Messages handed to sessions.")
holes = Counter("lockstep_holes", "Batches that had to wait for a predecessor.")
bus_dropped = Counter("lockstep_bus_dropped", "Events that the channel layer did not take.")
connections = Gauge(
    "lockstep_connections",
    "Open WebSocket connections, those included that have not said hello.",
    multiprocess_mode="livesum",
)
sessions = Gauge("lockstep_sessions", "Open sessions.", multiprocess_mode="livesum")
behind = Gauge(
    "lockstep_sessions_behind",
    "Sessions that are fed from the database because they have not taken what they were sent.",
    multiprocess_mode="livesum",
)
users = Gauge(
    "lockstep_users", "Users with a session, by process and added up.", multiprocess_mode="livesum"
)
queued = Gauge(
    "lockstep_queued_writes", "Writes that wait for a commit.", multiprocess_mode="livesum"
)
commit_waiting = Gauge(
    "lockstep_commit_waiting_seconds",
    "How long the transaction of now has been tried; 0 without one.",
    multiprocess_mode="livemax",
)
bus_queued = Gauge(
    "lockstep_bus_queued",
    "Events that wait to be published on the channel layer.",
    multiprocess_mode="livesum",
)
bus_deaf = Gauge(
    "lockstep_bus_deaf",
    "Processes that don't hear the channel layer and read changes from the database.",
    multiprocess_mode="livesum",
)
bus_lag = Gauge(
    "lockstep_bus_lag_seconds",
    "From sending the last pulse through the channel layer to hearing it.",
    multiprocess_mode="livemax",
)
lease_age = Gauge(
    "lockstep_lease_age_seconds",
    "Since the process's lease was last renewed; beyond `lease_s` it tells nobody anything.",
    multiprocess_mode="livemax",
)
loop_lag = Gauge(
    "lockstep_loop_lag_seconds",
    "How late the event loop came to a timer of one second: what every device waits longer.",
    multiprocess_mode="livemax",
)
processes = Gauge(
    "lockstep_processes",
    "Server processes that this page tells of.",
    multiprocess_mode="livesum",
)
topics = Gauge(
    "lockstep_topics",
    "Conversations that open sessions follow; each is one group on the channel layer.",
    multiprocess_mode="livesum",
)
presence_frames = Counter("lockstep_presence_frames", "Presence frames handed to sessions.")
presence_stale = Gauge(
    "lockstep_presence_stale",
    "Processes whose presence stands still because the database is away.",
    multiprocess_mode="livesum",
)
allocated_blocks = Gauge(
    "lockstep_allocated_blocks",
    "Blocks that Python has allocated; at rest they must not grow from day to day.",
    multiprocess_mode="livesum",
)
pool_waiting = Gauge(
    "lockstep_pool_waiting",
    "Requests that wait for a connection of the database pool.",
    multiprocess_mode="livesum",
)
shedding = Gauge(
    "lockstep_shedding",
    "What is refused because the process is too busy: 1 most new connections, 2 history over REST, too, 3 presence, too.",
    multiprocess_mode="livemax",
)
breaker_open = Gauge(
    "lockstep_breaker_open",
    "Processes that refuse what needs the `database`, or `writes`, because it has failed for a while.",
    ["breaker"],
    multiprocess_mode="livesum",
)
pass_seconds = Gauge(
    "lockstep_reconciler_pass_seconds",
    "Time of the last full comparison with the database.",
    multiprocess_mode="livemax",
)

# What an alert waits for the first of is shown from the beginning: Prometheus sees no rise in what is born with 1.
for via in ("socket", "rest"):
    refusals.labels("internal", via)
closes.labels("internal")


@contextmanager
def timed(statement: str) -> Iterator[None]:
    """Time a database statement."""
    began = perf_counter()
    try:
        yield
    finally:
        statement_seconds.labels(statement).observe(perf_counter() - began)


def exposition() -> tuple[bytes, str]:
    """The page for Prometheus and its content type, of all processes if they share a directory."""
    registry: CollectorRegistry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
