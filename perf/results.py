"""Findings become a result: the one of a run, and the one that several runs merge into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from perf.checkers.judgement import Judgement, Liveness
from perf.history.rundir import RunDirectory
from perf.measure.latency import Latency, Summary
from perf.scenario import Findings, Result, Verdict

WORST_FIRST: tuple[Verdict, ...] = ("invalid", "unknown", "valid")
LATENCY = ("p50", "p90", "p99", "p999", "max", "count")
HALVINGS = 20  # of the share above a percentile, to one in a million
STEPS = 5  # points between two of them


def concluded(
    name: str,
    findings: Findings,
    *,
    seed: int,
    started: str,
    duration_s: float,
    environment: dict[str, Any],
    command: str,
    directory: RunDirectory | None = None,
) -> Result:
    """Return what is written as JSON."""
    summary, judged = findings.latency, findings.judgement
    return Result(
        scenario=name,
        seed=seed,
        started=started,
        duration_s=duration_s,
        environment=environment,
        verdict=findings.verdict,
        passed=findings.verdict == "valid",
        targets=findings.outcomes,
        anomalies=judged.counts,
        figures={**findings.figures, "checked": _checked(findings), **_balance(judged)},
        latency_ms={field: getattr(summary, field) for field in LATENCY},
        resources=msgspec.to_builtins(findings.resources),
        problems=findings.problems,
        witnesses=judged.witnesses,
        coverage=findings.coverage,
        liveness=findings.liveness or _liveness(judged.liveness),
        limiting=findings.limiting,
        spectra={name: spectrum(latency) for name, latency in findings.spectra.items()},
        steps=findings.steps,
        directory=str(directory.path) if directory is not None else "",
        command=command,
    )


def _checked(findings: Findings) -> dict[str, int]:
    judged = findings.judgement
    return {
        "messages": judged.messages,
        "deliveries": judged.deliveries,
        "promises": judged.promises,
    }


def _balance(judged: Judgement) -> dict[str, Any]:
    """The ledger, and what looked like an anomaly and was none; nothing if nothing was judged."""
    if not judged.exercised:
        return {}
    ledger = {**asdict(judged.ledger), "balanced": judged.ledger.balanced}
    tolerated = {name: count for name, count in judged.tolerated.items() if count}
    return {"ledger": ledger, **({"tolerated": tolerated} if tolerated else {})}


def _liveness(liveness: Liveness) -> dict[str, Any]:
    """How long after the last fault was healed everything was well again; nothing without a fault."""
    if liveness.healed is None:
        return {}
    converged = sorted(liveness.converged_ms)
    return {
        "first_ok_ms": liveness.first_ok_ms,
        "converged_p50_ms": converged[len(converged) // 2] if converged else None,
        "converged_max_ms": converged[-1] if converged else None,
        "devices_converged": len(converged),
        "devices_behind": liveness.behind,
    }


def spectrum(latency: Latency) -> list[tuple[float, float]]:
    """Points of a percentile plot, (percent, ms): as many as the samples can tell apart.

    The axis is the usual one of HDR plots, 1 / (1 - share), in equal steps of its logarithm.
    """
    points: list[tuple[float, float]] = []
    for step in range(HALVINGS * STEPS):
        above = 0.5 ** (step / STEPS)
        value = latency.percentile(100 * (1 - above))
        if value is None or above * latency.count < 0.5:
            break
        points.append((round(100 * (1 - above), 6), value))
    return points


def merged(
    name: str, results: Sequence[Result], *, command: str, directory: RunDirectory | None = None
) -> Result:
    """One result of several: targets and anomalies of all, the worst verdict. Raises ValueError if none."""
    if not results:
        raise ValueError("nothing to merge")
    verdict = min((one.verdict for one in results), key=WORST_FIRST.index)
    return Result(
        scenario=name,
        seed=results[0].seed,
        started=results[0].started,
        duration_s=round(sum(one.duration_s for one in results), 1),
        environment=next((one.environment for one in results if one.environment), {}),
        verdict=verdict,
        passed=verdict == "valid",
        targets=[
            msgspec.structs.replace(target, source=f"{one.scenario}: {target.source}")
            for one in results
            for target in one.targets
        ],
        anomalies=_summed(one.anomalies for one in results),
        figures={one.scenario: one.figures for one in results},
        latency_ms={field: getattr(Summary(), field) for field in LATENCY},
        resources={},
        problems=[f"{one.scenario}: {problem}" for one in results for problem in one.problems],
        witnesses={
            f"{one.scenario}: {anomaly}": witnesses
            for one in results
            for anomaly, witnesses in one.witnesses.items()
        },
        coverage=[
            msgspec.structs.replace(covered, name=f"{one.scenario}: {covered.name}")
            for one in results
            for covered in one.coverage
        ],
        directory=str(directory.path) if directory is not None else "",
        command=command,
        runs=results,
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """All counts together; names with 0 stay."""
    total: dict[str, int] = {}
    for one in counts:
        for name, count in one.items():
            total[name] = total.get(name, 0) + count
    return total
