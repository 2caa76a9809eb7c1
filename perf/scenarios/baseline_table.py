"""The baseline's table: everything measured at normal load, held against its targets, and what was covered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from perf.coverage import Covered
from perf.measure import metrics
from perf.measure.latency import Latency
from perf.scenarios.parts.returns import MISSED
from perf.scenarios.parts.shared import connected_percent, outcome_of, usage_of
from perf.targets import Outcome, outcome

if TYPE_CHECKING:
    from perf.scenarios.baseline import Baseline


def outcomes(it: Baseline) -> list[Outcome]:
    """All targets that need no judgement."""
    it.pulse.settle(lambda asked: True)
    return [*_latencies(it), *_rates(it), *_resources(it)]


def coverage(it: Baseline) -> list[Covered]:
    """What this workload is meant to bring about at least once."""
    cut = it.returns.latency.count + len(it.returns.failures)
    returned = max(sum(device.sessions - 1 for device in it.fleet.devices) - cut, 0)
    happened = {
        "a device came back by itself after its connection was lost": returned,
        "a message was edited while a device that has it was away": it.returns.latency.count,
        "a message was edited": it.flow.stored["edit"],
        "a message was deleted": it.flow.stored["delete"],
        "a read receipt came back": it.flow.receipt.count,
    }
    return [
        Covered(name=name, kind="sometimes", checked=count, held=count)
        for name, count in happened.items()
    ]


def _latencies(it: Baseline) -> list[Outcome]:
    trusted = partial(outcome_of, it.generator)
    visits, flow = _connects(it.visitors.connect_s), it.flow
    return [
        trusted("T1", visits.percentile(99), source=f"{visits.count} sessions, opened one by one beside the load"),
        trusted("T2", flow.delivery.percentile(99), source=f"{flow.delivery.count} deliveries"),
        _database_time(it),
        trusted("T5", flow.receipt.percentile(99), source=f"{flow.receipt.count} messages"),
        trusted("T6.live", flow.live.percentile(99), source=f"{flow.live.count} deliveries"),
        trusted("T6.resume", it.returns.latency.summary().max, source=f"{it.returns.latency.count} reconnects, {MISSED} messages missed in each"),
    ]  # fmt: skip


def _connects(seconds: Sequence[float]) -> Latency:
    latency = Latency()
    latency.extend(seconds)
    return latency


def _database_time(it: Baseline) -> Outcome:
    """The worse of what the rig's own connection and what the server itself measured; unknown if that one was lost."""
    if it.probe is not None and it.probe.failures:
        why = f"the rig's own connection ended: {it.probe.failures[0]}"
        return outcome("T3", None, source=why)
    ours = it.probe.latency.percentile(99) if it.probe is not None else None
    theirs = metrics.percentile_ms(metrics.merged(metrics.since(it.before, it.after)), 99)
    named = {"a connection of the rig": ours, "the server's /metrics": theirs}
    known = {name: value for name, value in named.items() if value is not None}
    if not known:
        return outcome("T3", None, source="neither a database connection nor /metrics")
    worst = max(known, key=lambda name: known[name])
    sources = ", ".join(f"{name} {value:.2f} ms" for name, value in known.items())
    return outcome_of(it.generator, "T3", known[worst], source=f"the worse of: {sources}")


def _rates(it: Baseline) -> list[Outcome]:
    return [
        outcome("T7", connected_percent(it.fleet, it.visitors), source="sessions opened"),
        outcome("T9", it.pulse.uptime_percent, source=f"{it.pulse.asked} pings answered within 1 s"),
    ]  # fmt: skip


def _resources(it: Baseline) -> list[Outcome]:
    memory = usage_of(it.resources, "server", "rss_mb")
    cpu = usage_of(it.resources, "server", "cpu_percent")
    return [
        outcome("T14", memory, source=f"resident memory of all server processes, {len(it.fleet.devices)} devices"),
        outcome("T16", cpu, source="all server processes together, during the load"),
    ]  # fmt: skip


def figures(it: Baseline) -> dict[str, Any]:
    """What is shown beside the targets."""
    flow = it.flow
    found: dict[str, Any] = {
        "devices": len(it.fleet.devices),
        "messages": flow.answer.count,
        # Into a server that has just started, ten at a time: as fast as it can, so no time of one.
        "first_connects_p99_ms": _connects(it.fleet.connect_s).percentile(99),
        "delivery_p50_ms": flow.delivery.percentile(50),
        "delivery_uncorrected_p99_ms": flow.uncorrected.percentile(99),
        "answer_p50_ms": flow.answer.percentile(50),
        "answer_p99_ms": flow.answer.percentile(99),
        "read_receipt_p50_ms": flow.receipt.percentile(50),
        "catch_up_p50_ms": it.returns.latency.percentile(50),
        "skipped_requests": it.skipped,
        "generator": it.generator.figures(),
        "generator_cpu_percent": it.generator.cpu_percent,
        "other_processes_cpu_percent": it.resources.others_percent,
        "refusals": flow.refusals,
    }
    if it.probe is not None:
        found["probe_p99_ms"] = {
            name: latency.percentile(99) for name, latency in it.probe.by_statement.items()
        }
    served = metrics.since(it.before, it.after)
    found["server_statement_p99_ms"] = {
        name: metrics.percentile_ms(buckets, 99) for name, buckets in served.items()
    }
    return found
