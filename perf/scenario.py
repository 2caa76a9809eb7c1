"""A scenario is a value: what it needs, how it runs, what it measures. The verdict is decided here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from perf.checkers import Judgement
from perf.coverage import Covered
from perf.history.recorder import Recorder
from perf.history.rundir import RUNS, RunDirectory
from perf.measure.latency import Latency, Summary
from perf.measure.series import EVERY_S, Series
from perf.progress import Progress
from perf.rig.environment import Crowd, Environment
from perf.targets import Outcome

Verdict: TypeAlias = Literal["valid", "invalid", "unknown"]
Group: TypeAlias = Literal["health", "baseline", "stress", "e2e", "soak"]

EXIT_CODES: dict[Verdict, int] = {"valid": 0, "invalid": 1, "unknown": 2}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line chose; None leaves it to the scenario.

    `preset` names a load, `fault` what goes wrong, `sabotage` how the private servers are broken on purpose.
    """

    seed: int
    quick: bool = False
    duration_s: float | None = None
    devices: int | None = None
    rate: float | None = None
    outstanding: int | None = None
    preset: str | None = None
    fault: str | None = None
    sabotage: str | None = None
    processes: int = 1
    server: str = "uvicorn"
    url: str | None = None
    accounts: Path | None = None
    database_url: str | None = None
    runs: Path = RUNS


@dataclass(kw_only=True)
class Findings:
    """What a run found out. `unknown` says what could not be established, `broken` which guarantee fell.

    `concluding` gives the outcomes that the judgement decides, such as the share that arrived: the
    runner asks it once the history has been judged. `spectra` become the percentile plots,
    `steps` the stairs, `limiting` is one sentence: the limiting resource and the next lever.
    """

    outcomes: list[Outcome]
    judgement: Judgement = field(default_factory=Judgement)
    concluding: Callable[[Judgement], Sequence[Outcome]] | None = None
    latency: Summary = field(default_factory=Summary)
    figures: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    coverage: list[Covered] = field(default_factory=list)
    liveness: dict[str, Any] = field(default_factory=dict)
    limiting: str = ""
    spectra: dict[str, Latency] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What is wrong or unknown beside the targets, a sentence each."""
        beyond = self.latency.overflows
        late = [f"{beyond} latencies were longer than a minute"] if beyond else []
        uncovered = [one.problem for one in self.coverage if one.problem]
        return [*self.broken, *late, *self.unknown, *uncovered]

    @property
    def verdict(self) -> Verdict:
        """Invalid if anything was shown to be wrong, else unknown if anything was not shown at all."""
        missed = any(outcome.passed is False for outcome in self.outcomes)
        untrue = any(one.met is False for one in self.coverage)
        if missed or untrue or self.broken or self.judgement.anomalies or self.latency.overflows:
            return "invalid"
        unmeasured = any(outcome.passed is None for outcome in self.outcomes)
        untested = any(one.met is None for one in self.coverage)
        if unmeasured or untested or self.unknown or not self.outcomes:
            return "unknown"
        return "valid"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything that a scenario has at hand. The runner samples `series` for as long as it runs."""

    options: Options
    environment: Environment
    directory: RunDirectory
    recorder: Recorder
    series: Series
    progress: Progress


def no_plan(options: Options) -> dict[str, Any]:
    """The plan of a scenario that has nothing to foretell."""
    return {}


def each_second(options: Options) -> float:
    """How often the series of a run is sampled that ends within hours."""
    return EVERY_S


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing to measure or to prove.

    `plan` foretells steps, rates, durations and the cost, which --dry-run prints. One that records
    no history of messages says so with `judged=False`; `full=False` records no marks, which is
    for scenarios that look for the capacity. `goals` are the properties and situations (of
    `checkers`) that the run must have tested: without them its verdict is unknown. One that kills
    servers itself says so with `kills=True`; in all others a server process that ends is a fault, and none is
    kept spare.
    `settings` are those of the private server, if not the project's; `processes` it has at least.
    `every_s` says how often the series is sampled, in seconds.
    """

    name: str
    group: Group
    title: str
    crowd: Callable[[Options], Crowd]
    run: Callable[[Stage], Awaitable[Findings]]
    plan: Callable[[Options], Mapping[str, Any]] = no_plan
    judged: bool = True
    full: bool = True
    kills: bool = False
    settings: str | None = None
    processes: int = 1
    every_s: Callable[[Options], float] = each_second
    goals: frozenset[str] = frozenset()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a run. `spectra` are pairs of percent and ms; `runs` are those that `all` merged."""

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
    coverage: Sequence[Covered] = ()
    liveness: dict[str, Any] = {}
    limiting: str = ""
    spectra: dict[str, list[tuple[float, float]]] = {}
    steps: list[dict[str, Any]] = []
    directory: str = ""
    command: str = ""
    runs: Sequence[Result] = ()

    @property
    def exit_code(self) -> int:
        """0 valid, 1 a target or guarantee failed, 2 unknown."""
        return EXIT_CODES[self.verdict]
