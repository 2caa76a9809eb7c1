"""What became of one fault: what was felt of it, what it cost, and the verdict on it alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from perf.checkers import Judgement
from perf.measure.latency import Latency


@dataclass(kw_only=True)
class Endured:
    """What became of one fault. Moments are in seconds; `recovery_s` None: it never was well again."""

    name: str
    what: str
    felt: dict[str, float] = field(default_factory=dict)
    lasted_s: float = 0.0
    recovery_s: float | None = None
    bound_ms: float = 0.0
    before: Latency = field(default_factory=Latency)
    after: Latency = field(
        default_factory=Latency
    )  # of what was sent from the beginning of the fault on
    unfelt: list[str] = field(default_factory=list)  # what of it nobody felt
    skipped: str = ""  # why it can't be had here
    checked: int = 0  # what the fault itself compared with the database
    refusals: dict[str, int] = field(default_factory=dict)
    closures: int = 0
    judgement: Judgement = field(default_factory=Judgement)
    broken: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Of this fault alone."""
        if self.broken or self.judgement.anomalies:
            return "invalid"
        unfelt = self.skipped or self.unfelt or not any(self.felt.values())
        return "unknown" if unfelt or self.untested or self.judgement.problems else "valid"

    @property
    def untested(self) -> list[str]:
        """Of what its run had to test, what it never came by."""
        return [one.name for one in self.judgement.coverage if one.met is None]

    def row(self) -> dict[str, Any]:
        """What the table says of it."""
        converged = self.judgement.liveness.converged_ms
        return {
            "fault": self.name,
            "felt": ", ".join(f"{value:,.0f} {name}" for name, value in self.felt.items() if value) or "nothing",
            "deliveries": self.judgement.deliveries,
            "anomalies": self.judgement.anomalies,
            "asked_of_database": self.checked or None,
            "lasted_s": round(self.lasted_s, 1),
            "recovery_s": self.recovery_s,
            "converged_s": round(max(converged) / 1000, 2) if converged else None,
            "p99_before_ms": self.before.percentile(99),
            "p99_after_ms": self.after.percentile(99),
            "worst_ms": self.after.summary().max,
            "refusals": sum(self.refusals.values()),
            "lost_connections": self.closures,
            "verdict": self.verdict,
        }  # fmt: skip
