"""A scenario is a value: what it needs, how it runs, what it measures. The verdict is decided here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from perf.checkers import Judgement
from perf.environment import Crowd, Environment
from perf.latency import Summary
from perf.targets import Outcome

Verdict: TypeAlias = Literal["valid", "invalid", "unknown"]

EXIT_CODES: dict[Verdict, int] = {"valid": 0, "invalid": 1, "unknown": 2}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line chose; None leaves it to the scenario."""

    seed: int
    quick: bool = False
    duration_s: float | None = None
    devices: int | None = None
    rate: float | None = None
    outstanding: int | None = None
    processes: int = 1
    server: str = "uvicorn"
    url: str | None = None
    accounts: Path | None = None
    database_url: str | None = None
    say: Callable[[str], None] = print


@dataclass(kw_only=True)
class Findings:
    """What a run found out. `unknown` says what could not be established, `broken` which guarantee fell."""

    outcomes: list[Outcome]
    judgement: Judgement = field(default_factory=Judgement)
    latency: Summary = field(default_factory=Summary)
    figures: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What is wrong or unknown beside the targets, a sentence each."""
        beyond = self.latency.overflows
        late = [f"{beyond} latencies were longer than a minute"] if beyond else []
        return [*self.broken, *late, *self.unknown]

    @property
    def verdict(self) -> Verdict:
        """Invalid if anything was shown to be wrong, else unknown if anything was not shown at all."""
        missed = any(outcome.passed is False for outcome in self.outcomes)
        if missed or self.broken or self.judgement.anomalies or self.latency.overflows:
            return "invalid"
        unmeasured = any(outcome.passed is None for outcome in self.outcomes)
        if unmeasured or self.unknown or not self.outcomes:
            return "unknown"
        return "valid"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing to measure or to prove."""

    name: str
    title: str
    crowd: Callable[[Options], Crowd]
    run: Callable[[Environment, Options], Awaitable[Findings]]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a run."""

    scenario: str
    seed: int
    started: str
    duration_s: float
    environment: dict[str, Any]
    verdict: Verdict
    passed: bool
    targets: Sequence[Outcome]
    anomalies: dict[str, int]
    figures: dict[str, Any]
    latency_ms: dict[str, float | None]
    resources: dict[str, Any]
    problems: Sequence[str] = ()
    witnesses: dict[str, list[str]] = {}
    command: str = ""

    @property
    def exit_code(self) -> int:
        """0 valid, 1 a target or guarantee failed, 2 unknown."""
        return EXIT_CODES[self.verdict]
