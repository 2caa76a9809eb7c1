"""A run's directory as a scenario leaves it, made up: a flood in steps, two faults, all figures.

Only for tests and for looking at a report; nothing in it was measured.
"""

import math
import random
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from perf.history.events import Event, Fault, RunBegan, RunEnded
from perf.history.rundir import RunDirectory
from perf.measure.series import BUCKETS_US
from perf.targets import outcome

SECONDS = 120
BEGAN_NS = 5_000_000_000_000
STEPS = ((0, 2_000), (30, 4_000), (60, 8_000), (90, 4_000))
FAULTS = (
    ("kill", "server-1", 38, 44, {"connections_cut": 250.0}),
    ("partition", "valkey", 75, 82, {"bytes_blocked": 1.9e6}),
)
PLAN = {"scenario": "message-flood", "title": "message flood", "seed": 7, "devices": 1000,
        "command": "manage.py perf stress message-flood --seed 7"}  # fmt: skip
ENVIRONMENT = {"environment": "private", "cpus": 2, "cpu": "a made-up CPU", "load_before": "0.31", "python": "3.11.7",
               "postgresql": "18.1", "valkey": "9.1", "server": "uvicorn", "processes": 1, "commit": "76a965d", "fsync_ms": 0.61}  # fmt: skip
RESULT = Path(__file__).parent / "sample_result.json"
MEASURED = (
    ("T2", 31.4, "512,000 deliveries at 4,000 messages/s"),
    ("T4", 41.0, "a connection of the rig, 2,110 statements"),
    ("T13.durable", 6_688.0, "acknowledged after the commit"),
    ("T13.delivered", 66_740.0, "messages applied by the devices"),
    ("T15", 262.0, "resident memory of all server processes"),
    ("T7", 100.0, "1,250 sessions opened"),
    ("T8", 100.0, "stored changes due to devices, by identity"),
)
SPECTRA = (
    ("delivery, corrected", 9.1, 60),
    ("delivery, uncorrected", 8.9, 9),
    ("answer, corrected", 4.2, 30),
)
STAIRS = (
    (2_000, 2_001, 6.1, 14.0),
    (4_000, 3_998, 8.8, 24.0),
    (6_000, 5_996, 11.0, 38.0),
    (8_000, 6_690, 161.0, 940.0),
)


def make(path: Path, *, aborted: bool = False, plots: bool = True, **changes: Any) -> RunDirectory:
    """Make the directory; `changes` replace fields of the result; an aborted run has none.

    Without `plots` it has no series, spectra and steps: drawing them takes most of a page's time.
    """
    directory = RunDirectory(path=path)
    for inner in (directory.history, directory.logs):
        inner.mkdir(parents=True)
    directory.plan.write_bytes(msgspec.json.encode(PLAN))
    directory.environment.write_bytes(msgspec.json.encode(ENVIRONMENT))
    if plots:
        write_lines(directory.series, series(SECONDS // 2 if aborted else SECONDS))
    else:
        changes = {"spectra": {}, "steps": [], **changes}
    write_lines(directory.history_of(0), history())
    if aborted and plots:
        with directory.series.open("ab") as file:
            file.write(b'{"t":5')
    if not aborted:
        directory.result.write_bytes(msgspec.json.encode({**result(), **changes}))
    return directory


def write_lines(path: Path, lines: list[Any]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def at(second: float) -> int:
    """The moment of a second of the run."""
    return BEGAN_NS + int(second * 1e9)


def history() -> list[Event]:
    """The faults, and where the file begins and ends."""
    found: list[Event] = [RunBegan(t=at(0), run="7-ab", scenario="message-flood", seed=7)]
    for name, target, begin, end, effect in FAULTS:
        found.append(Fault(t=at(begin), name=name, phase="begin", target=target))
        found.append(Fault(t=at(begin + 1), name=name, phase="felt", target=target, effect=effect))
        found.append(Fault(t=at(end), name=name, phase="end", target=target))
    return [*found, RunEnded(t=at(SECONDS))]


@cache
def series(seconds: int) -> list[dict[str, Any]]:
    """A line for each second. Always the same: they are not to be changed."""
    dice = random.Random(7)
    lines = []
    for second in range(seconds):
        asked = next(rate for begin, rate in reversed(STEPS) if second >= begin)
        hurt = any(begin <= second < end for _, _, begin, end, _ in FAULTS)
        acked = min(asked, 6_700) * (0.45 if hurt else 1) * dice.uniform(0.97, 1.02)
        middle = (9.0 if asked < 6_700 else 160.0) * (6 if hurt else 1)
        line: dict[str, Any] = {"t": at(second + 1), "load.asked": asked, "load.sent": asked, "load.acked": round(acked),
                "load.delivered": round(acked * 9.98), "generator.late_ms": dice.uniform(0.2, 2.4)}  # fmt: skip
        line |= _latencies(dice, "delivery", middle, int(acked)) | _resources(dice, acked, second)
        if second in {begin for begin, _ in STEPS}:
            line["mark"] = f"{asked:,}/s"
        lines.append(line)
    return lines


def _latencies(dice: random.Random, what: str, middle: float, count: int) -> dict[str, Any]:
    times = sorted(middle * math.exp(dice.gauss(0, 0.45)) for _ in range(400))
    buckets: dict[str, int] = {}
    for ms in times:
        low = BUCKETS_US[max(bisect_right(BUCKETS_US, ms * 1000) - 1, 0)]
        buckets[str(low)] = buckets.get(str(low), 0) + max(1, count // 400)
    name = f"latency.{what}"
    return {f"{name}.count": count, f"{name}.p50": times[200], f"{name}.p99": times[396],
            f"{name}.max": times[-1] * 1.6, f"{name}.buckets": buckets}  # fmt: skip


def _resources(dice: random.Random, acked: float, second: int) -> dict[str, float]:
    share = acked / 6_700
    found = {
        "server.cpu_percent": 96 * share * dice.uniform(0.96, 1.02),
        "server.busiest_percent": 95 * share,
        "server.rss_mb": 212 + 0.35 * second + 12 * share,
        "server.threads": 4,
        "server.processes": 2,
        "server.sessions": 1000,
        "server.queued_writes": 40 * share**6,
        "server.batches": 180 * share,
        "postgres.cpu_percent": 58 * share * dice.uniform(0.9, 1.1),
        "postgres.busiest_percent": 44 * share,
        "valkey.cpu_percent": 6 * share,
        "valkey.commands": acked * 1.02,
        "valkey.rss_mb": 9.1,
        "generator.cpu_percent": 41 * share * dice.uniform(0.95, 1.05),
        "generator.busiest_percent": 41 * share,
        "generator.rss_mb": 188 + 0.2 * second,
        "generator.tasks": 12,
        "others.cpu_percent": 3 + 2 * dice.random(),
        "postgres.commits": acked / 38,
        "postgres.rollbacks": 0,
        "postgres.wal_bytes": acked * 410,
        "postgres.wal_syncs": acked / 38,
        "postgres.backends_active": 1 + round(2 * share),
        "postgres.backends_in_transaction": dice.randint(0, 1),
        "postgres.lock_waits": 0,
        "postgres.cache_hit_percent": 99.7,
    }
    if second % 5 == 0:
        found |= {
            "server.descriptors": 1045,
            "generator.descriptors": 1022,
            "postgres.descriptors": 330,
        }
        found |= {"postgres.uss_mb": 31.0, "server.uss_mb": 158 + 0.3 * second}
    return {name: round(value, 2) for name, value in found.items()}


def spectrum(middle: float, tail: float) -> list[tuple[float, float]]:
    """Percent and ms."""
    shares = [0.5 ** (step / 5) for step in range(85)]
    return [
        (round(100 * (1 - above), 6), middle * (1 + tail * (math.log2(1 / above) / 10) ** 3))
        for above in shares
    ]


def result() -> dict[str, Any]:
    """What result.json has: the sample beside this file, and what is made of the parts above."""
    return {
        **msgspec.json.decode(RESULT.read_bytes()),
        "environment": ENVIRONMENT,
        "targets": msgspec.to_builtins(
            [outcome(key, measured, source=source) for key, measured, source in MEASURED]
        ),
        "spectra": {name: spectrum(middle, tail) for name, middle, tail in SPECTRA},
        "steps": [
            dict(
                zip(
                    ("asked", "achieved", "p50", "p99", "held"), (*step, step[-1] < 50), strict=True
                )
            )
            for step in STAIRS
        ],
    }
