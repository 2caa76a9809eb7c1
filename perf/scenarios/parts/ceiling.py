"""What a ramp came to: how many sessions were held, what each costs, and what stood in the way of more."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import correlation, linear_regression

from perf.scenarios.parts.ramp import Step

GRAIN = 10  # connections: nobody comes nearer to a limit, with whole conversations


def held_of(steps: Sequence[Step]) -> int:
    """The most connections that were held."""
    return max((step.connections for step in steps if step.held), default=0)


def limit_of(steps: Sequence[Step], *, room: int | None = None) -> str:
    """The limiting resource and the next lever, one sentence; without `room` the last step has failed."""
    last, held = steps[-1], held_of(steps)
    late = next((step.connections for step in steps if step.late), None)
    busy = (
        f"the server took {last.ramp_cpu or 0:.0f} % of a core for {last.connect_per_s:,.0f} new "
        "sessions a second"
    )
    if room is None:
        return (
            f"Limited at {last.connections:,} connections ({held:,} were held): {last.failed_by}; {busy}. "
            "Next lever: one more process (--processes), or a lower connect rate."
        )
    if last.connections + GRAIN > room:
        return (
            f"Limited by file descriptors: {last.connections:,} connections are as many as the server's "
            "processes may open. Next lever: a higher limit (ulimit -n), or one more process (--processes)."
        )
    if late is not None:
        return (
            f"Limited by the connect rate: {held:,} connections were held, but from {late:,} on a new "
            f"session took longer than T1 allows; {busy}. Next lever: one more process (--processes)."
        )
    return (
        f"No resource was at its limit at {held:,} connections: {last.rss_mb or 0:,.0f} MB, idle "
        f"{last.idle_cpu or 0:.0f} % of a core, {100 * last.connections / room:.0f} % of the file limit; "
        f"{busy}. Next lever: ask for more (--devices)."
    )


def per_connection_kib(steps: Sequence[Step]) -> tuple[float, float] | None:
    """Memory that one more connection costs the server (KiB), and how straight the line is (correlation).

    The slope of an ordinary least-squares regression of the server's unshared memory over the steps.
    None with fewer than three points.
    """
    points = [(step.connections, step.uss_mb) for step in steps if step.uss_mb is not None]
    if len(points) < 3:
        return None
    x, y = [float(n) for n, _ in points], [float(mb) * 1024 for _, mb in points]
    return linear_regression(x, y).slope, correlation(x, y)
