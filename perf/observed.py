"""What the series of a run adds to its findings: resources of every group, the limit, the sampler's cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perf.history.rundir import RunDirectory
from perf.measure.limiting import limiting
from perf.measure.series import Line, load
from perf.measure.usage import usage_of
from perf.scenario import Findings

GROUPS = ("server", "postgres", "valkey", "generator", "others")
MEANS = ("cpu_percent",)
GREATEST = ("processes", "rss_mb", "uss_mb", "descriptors", "sockets", "threads")


def conclude(findings: Findings, directory: RunDirectory, facts: Mapping[str, Any]) -> None:
    """Add to the findings what a scenario has not said by itself."""
    lines = load(directory.series)
    for group, usage in resources(lines).items():
        findings.resources.setdefault(group, usage)
    if (share := sampler_percent(lines)) is not None:
        findings.figures.setdefault("sampler_cpu_percent", share)
    if lines and not findings.limiting:
        findings.limiting = limiting(usage_of(lines, cpus=int(facts.get("cpus") or 1)))


def resources(lines: Sequence[Line]) -> dict[str, dict[str, float]]:
    """By group: mean CPU in % of a core, and the most of everything else."""
    found: dict[str, dict[str, float]] = {}
    for group in GROUPS:
        figures: dict[str, float] = {}
        for name in (*GREATEST, *MEANS):
            values = [float(line[f"{group}.{name}"]) for line in lines if f"{group}.{name}" in line]
            if values:
                figures[name] = sum(values) / len(values) if name in MEANS else max(values)
        if figures.get("processes", 1):
            found[group] = {name: round(value, 1) for name, value in figures.items()}
    return {group: figures for group, figures in found.items() if figures}


def sampler_percent(lines: Sequence[Line]) -> float | None:
    """What sampling itself has cost, in % of a core; None with fewer than two lines."""
    known = [
        (int(line["t"]), float(line["sampler.cpu_ms"]))
        for line in lines
        if "sampler.cpu_ms" in line
    ]
    if len(known) < 2 or known[-1][0] <= known[0][0]:
        return None
    (begun, before), (ended, after) = known[0], known[-1]
    return round(100 * (after - before) * 1e6 / (ended - begun), 2)
