"""What a load counts while it runs, whoever writes it down: a `Series`, or a worker on behalf of one."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """Where counts and times of the load go; see `perf.measure.series` for the names."""

    def count(self, name: str, n: float = 1) -> None:
        """Add to a count."""

    def worst(self, name: str, value: float) -> None:
        """Keep the greatest value of the second."""

    def time(self, what: str, seconds: float) -> None:
        """Note one latency of `what`."""
