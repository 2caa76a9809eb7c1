"""How a report says things: verdicts, numbers, the sign of a limit. Every face of a report uses these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from perf.targets import TABLE

Word: TypeAlias = Literal["valid", "invalid", "unknown", "aborted"]

WORDS: dict[Word, str] = {
    "valid": "every target and guarantee was measured and held",
    "invalid": "a target or a guarantee failed",
    "unknown": "not everything could be measured",
    "aborted": "the run did not come to its end; this is what it left",
}
TICKS = {True: "✓", False: "✗", None: "?"}
KINDS: dict[bool | None, Word] = {True: "valid", False: "invalid", None: "unknown"}
SIGNS = {target.name: target.better for target in TABLE.values()}
COMPARED = {"below": "<", "at_most": "≤", "above": ">", "at_least": "≥"}
UNITS = {"_ms": "ms", "_s": "s", "_mb": "MB", "_percent": "%", "_bytes": "bytes", "_per_s": "per s"}
WHOLE = 1000  # from here on without decimals


def number(value: object) -> str:
    """A number as people write it, or the text itself."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= WHOLE else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def named(name: str) -> tuple[str, str]:
    """A figure's name for people, and its unit: `delivery_p50_ms` is ("delivery p50", "ms")."""
    for ending, unit in sorted(UNITS.items(), key=lambda item: -len(item[0])):
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " "), unit
    return name.replace("_", " "), ""


def plain(value: Any) -> str:
    """A value of any kind on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {plain(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(one) for one in value)
    return number(value)


def sign_of(name: str) -> str:
    """The sign between a target's measurement and its limit. `name` begins with the target's key."""
    return COMPARED[better_of(name)]


def better_of(name: str) -> str:
    """On which side of its limit a target has to be."""
    return SIGNS.get(name.partition(" ")[2], "below")


def duration(seconds: float) -> str:
    """45 s, 12 min 5 s."""
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def plural(count: int, noun: str) -> str:
    """1 target, 2 targets."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
