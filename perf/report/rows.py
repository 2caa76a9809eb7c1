"""The rows of a page's first screen, made from a result: tiles, targets, anomalies, witnesses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perf.report.wording import KINDS, better_of, duration, number, sign_of

MOST_TILES = 4
LIMIT_AT = 72.0  # % of a bar's width; what is beyond the limit has room to be seen
TILES = (
    ("sustained_messages_per_s", "Sustained", "messages/s"),
    ("durable_messages_per_s", "Durable", "messages/s"),
    ("deliveries_per_s", "Delivered", "deliveries/s"),
    ("connections", "Connections", ""),
    ("recovery_s", "Recovered within", "s"),
    ("converged_s", "Converged within", "s"),
    ("requests_per_s", "Requests", "per s"),
    ("statements_per_s", "Statements", "per s"),
    ("messages", "Messages", ""),
    ("devices", "Devices", ""),
)
"""Figures worth a headline, the most telling first."""


def tiles(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Headline figures: at most four, the 99th percentile among them."""
    figures = result.get("figures") or {}
    found = [
        {"label": label, "value": number(figures[name]), "unit": unit}
        for name, label, unit in TILES
        if isinstance(figures.get(name), int | float)
    ]
    p99 = (result.get("latency_ms") or {}).get("p99")
    if p99 is not None:
        found.insert(
            min(2, len(found)), {"label": "Latency, p99", "value": number(p99), "unit": "ms"}
        )
    return found[:MOST_TILES]


def target(one: Mapping[str, Any]) -> dict[str, Any]:
    """One row: measured beside limit and goal, and a bar."""
    name, unit = str(one["name"]), str(one["unit"])
    measured = one.get("measured")
    return {
        "kind": KINDS[one.get("passed")],
        "name": name,
        "source": one.get("source") or "",
        "measured": "no sample" if measured is None else _with(measured, unit),
        "limit": f"{sign_of(name)} {_with(one['limit'], unit)}",
        "goal": _with(one["goal"], unit),
        "reached": bool(one.get("reached")),
        "bar": None if measured is None else _bar(one),
    }


def _with(value: Any, unit: str) -> str:
    known = unit if len(unit) <= 3 else unit.partition(" ")[0]  # "% of a core" is long for a cell
    return f"{number(value)} {known}"


def _bar(one: Mapping[str, Any]) -> dict[str, float]:
    """Positions in % of the width: for a lower bound the greater of goal and measured is the end."""
    measured, limit, goal = float(one["measured"]), float(one["limit"]), float(one["goal"])
    if better_of(str(one["name"])) in {"above", "at_least"}:
        end = max(measured, limit, goal) or 1.0
        scale = 97.0 / end
    else:
        scale = LIMIT_AT / limit if limit else 1.0
    return {
        "measured": round(min(measured * scale, 100), 1),
        "limit": round(min(limit * scale, 98.5), 1),
        "goal": round(min(goal * scale, 97), 1),
    }


def anomalies(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every anomaly that was looked for and how often, the found ones first, those never tested last."""
    counts = result.get("anomalies") or {}
    judged = any(((result.get("figures") or {}).get("checked") or {}).values())
    if not judged and not any(counts.values()):
        return []
    covered = {one["name"]: int(one["checked"]) for one in result.get("coverage") or []}
    known = bool(covered.keys() & counts.keys())
    found = []
    for name, count in counts.items():
        tested = covered.get(name, 0) or not known
        kind = "found" if count else "" if tested else "untested"
        of = f"of {covered[name]:,}" if covered.get(name) else "" if tested else "not tested"
        found.append({"name": name, "count": count, "kind": kind, "shown": f"{count:,}", "of": of})
    return sorted(found, key=lambda one: (-one["count"], one["kind"] == "untested"))


def witnesses(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Examples: the sentence, and the excerpt that follows it."""
    found = []
    for name, texts in (result.get("witnesses") or {}).items():
        for text in texts:
            prose, _, excerpt = str(text).partition("\n")
            found.append({"name": name, "prose": prose, "excerpt": excerpt.rstrip()})
    return found


def summary(one: Mapping[str, Any]) -> dict[str, str]:
    """A run among several, in a line."""
    targets = one.get("targets") or []
    held = sum(target.get("passed") is True for target in targets)
    return {
        "scenario": str(one["scenario"]),
        "verdict": str(one["verdict"]),
        "targets": f"{held} of {len(targets)}",
        "anomalies": number(sum((one.get("anomalies") or {}).values())),
        "took": duration(float(one.get("duration_s") or 0)),
        "run": "/".join(str(one.get("directory") or "").split("/")[-2:]),
    }
