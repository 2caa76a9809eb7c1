"""The server's own figures: what its /metrics page says of its database statements.

The page has histograms with a few buckets, so a percentile is interpolated inside its bucket and
is as fine as the buckets are.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from urllib.parse import urlsplit

SAMPLE = re.compile(
    r"^lockstep_statement_seconds_bucket\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.M
)
PLAIN = re.compile(r"^lockstep_(?P<name>[a-z_]+?)(?P<counter>_total)? (?P<value>\S+)$", re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')
ANSWER_S = 5.0
LOOK_EVERY = 5

Buckets = dict[str, dict[float, float]]
"""By statement: how many took at most so many seconds."""


async def statement_buckets(url: str) -> Buckets:
    """Read the page. Empty if there is none."""
    return parse(await _page(url))


async def counters(url: str) -> dict[str, float]:
    """Read the page's plain counters, such as `batches`. Empty if there is no page."""
    return plain(await _page(url))[1]


async def gauges(url: str) -> dict[str, float]:
    """Read the page's gauges, such as `sessions`. Empty if there is no page."""
    return plain(await _page(url))[0]


async def _page(url: str) -> str:
    """The page; nothing if there is none, or it does not come in time."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await _get(url, "/metrics")
    except (OSError, TimeoutError):
        return ""


def parse(page: str) -> Buckets:
    """Return the statement histograms of a page."""
    found: Buckets = defaultdict(dict)
    for sample in SAMPLE.finditer(page):
        labels = dict(LABEL.findall(sample["labels"]))
        found[labels.get("statement", "")][float(labels["le"])] = float(sample["value"])
    return dict(found)


class PageLook:
    """A source for `Series`: the page's gauges as they are, its counters as what came since.

    Making the page costs the server milliseconds, so only every fifth question reads it.
    """

    def __init__(self, url: str) -> None:
        self._url, self._asked = url, 0
        self._before: dict[str, float] = {}

    async def __call__(self) -> dict[str, float]:
        """Read the page if it is time. Raises OSError, TimeoutError."""
        self._asked += 1
        if self._asked % LOOK_EVERY != 1:
            return {}
        async with asyncio.timeout(ANSWER_S):
            page = await _get(self._url, "/metrics")
        gauges, counters = plain(page)
        found = {name: counters[name] - self._before.get(name, 0) for name in counters}
        first, self._before = not self._before, counters
        return {
            f"server.{name}": value for name, value in (gauges | ({} if first else found)).items()
        }


def plain(page: str) -> tuple[dict[str, float], dict[str, float]]:
    """Gauges and counters of a page that have no labels."""
    gauges: dict[str, float] = {}
    counters: dict[str, float] = {}
    for sample in PLAIN.finditer(page):
        place = counters if sample["counter"] else gauges
        place[sample["name"]] = float(sample["value"])
    return gauges, counters


def since(before: Buckets, after: Buckets) -> Buckets:
    """What came between two readings. Empty if the first one did not come, or if the second one counts less:
    then it is another server's, behind a balancer, or of one that began anew.
    """
    risen = {
        name: {le: count - before.get(name, {}).get(le, 0) for le, count in buckets.items()}
        for name, buckets in after.items()
    }
    fell = any(rise < 0 for buckets in risen.values() for rise in buckets.values())
    return {} if fell or not before else risen


def merged(buckets: Buckets) -> dict[float, float]:
    """All statements together."""
    total: dict[float, float] = defaultdict(float)
    for one in buckets.values():
        for le, count in one.items():
            total[le] += count
    return dict(total)


def percentile_ms(buckets: dict[float, float], percent: float) -> float | None:
    """The time in ms that `percent` of the statements did not exceed; None without any."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank, low, below = buckets[bounds[-1]] * percent / 100, 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank:
            if bound == float("inf"):
                return low * 1000
            return (low + (bound - low) * (rank - below) / max(count - below, 1e-9)) * 1000
        low, below = bound, count
    return None


async def _get(url: str, path: str) -> str:
    parts = urlsplit(url)
    host, tls = parts.hostname or "127.0.0.1", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(host, port, ssl=tls or None)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode(errors="replace")
    finally:
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return body if " 200 " in head.partition("\r\n")[0] else ""
