"""What this process counts and times, in Prometheus' terms; `/metrics` shows all processes together.

With several processes `PROMETHEUS_MULTIPROC_DIR` must name a directory of theirs (`serve` makes one).
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

statement_seconds = Histogram(
    "lockstep_statement_seconds",
    "Time of database statements, from the call to the answer.",
    ["statement"],
    buckets=BUCKETS,
)
batches = Counter("lockstep_batches", "Transactions of the journal.")
marks = Counter("lockstep_marks", "Marks stored.")
deliveries = Counter("lockstep_deliveries", "Messages handed to sessions.")
holes = Counter("lockstep_holes", "Batches that had to wait for a predecessor.")
bus_dropped = Counter("lockstep_bus_dropped", "Events that the channel layer did not take.")
sessions = Gauge("lockstep_sessions", "Open sessions.", multiprocess_mode="livesum")
queued = Gauge(
    "lockstep_queued_writes", "Writes that wait for a commit.", multiprocess_mode="livesum"
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
pass_seconds = Gauge(
    "lockstep_reconciler_pass_seconds",
    "Time of the last full comparison with the database.",
    multiprocess_mode="livemax",
)


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
