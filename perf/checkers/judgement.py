"""What was found: counts, witnesses, how much was looked at, and how often each property was tested."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from perf.checkers.names import NAMES, PROPERTIES, SOMETIMES, TOLERATED
from perf.coverage import Covered

WITNESSES = 8  # examples kept of each anomaly


class Witness(NamedTuple):
    """One example: what is wrong, in a sentence, and where in the history (for the excerpt)."""

    sentence: str
    conversation: str | None = None
    device: int | None = None
    seqs: tuple[int, ...] = ()


@dataclass(kw_only=True)
class Ledger:
    """What must balance: each field is counted from identities of its own, none is a difference."""

    invoked: int = 0
    ok: int = 0
    failed: int = 0
    indeterminate: int = 0
    rows: int = 0  # stored messages that this run sent
    stored_ok: int = 0  # of these, those that were promised
    recovered: int = 0  # of these, those whose answer never came
    obligations: int = 0  # stored changes times the devices that they are for
    delivered: int = 0
    pending: int = 0  # for devices that were away when the run ended

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing and nothing is left over."""
        return (
            self.invoked == self.ok + self.failed + self.indeterminate
            and self.rows == self.stored_ok + self.recovered
            and self.obligations == self.delivered + self.pending
        )


@dataclass(kw_only=True)
class Liveness:
    """How the system came back after the last fault was healed. Times in ms since then."""

    healed: int | None = None  # the moment, ns; None: there was no fault
    first_ok_ms: float | None = None
    converged_ms: list[float] = field(default_factory=list)  # a device each
    behind: int = 0  # connected devices that never got what was known when it was healed


@dataclass
class Judgement:
    """What a history proves or refutes. All names are always there, with 0 where nothing was found."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    witnesses: dict[str, list[str]] = field(default_factory=dict)
    tolerated: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOLERATED, 0))
    messages: int = 0
    deliveries: int = 0
    expected: int = 0  # deliveries that had to be
    promises: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    liveness: Liveness = field(default_factory=Liveness)
    checked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    happened: dict[str, str] = field(default_factory=dict)  # what of SOMETIMES, and its witness
    found: dict[str, list[Witness]] = field(default_factory=dict)
    excerpts: dict[str, list[str]] = field(
        default_factory=dict
    )  # lines that show the first witness
    goals: frozenset[str] = frozenset()
    problems: list[str] = field(default_factory=list)  # why the evidence itself is not whole

    def convict(
        self,
        name: str,
        sentence: str,
        *,
        conversation: str | None = None,
        device: int | None = None,
        seqs: Collection[int] = (),
    ) -> None:
        """Count an anomaly and keep it as an example if there are few yet."""
        self.counts[name] += 1
        examples = self.found.setdefault(name, [])
        if len(examples) < WITNESSES:
            examples.append(Witness(sentence, conversation, device, tuple(seqs)))
            self.witnesses.setdefault(name, []).append(sentence)

    def tolerate(self, name: str, times: int = 1) -> None:
        """Count something that looks like an anomaly and is none."""
        self.tolerated[name] += times

    def check(self, *names: str, times: int = 1) -> None:
        """Note that these properties were tested so often."""
        for name in names:
            self.checked[name] += times

    def happen(self, name: str, witness: str) -> None:
        """Note that one of SOMETIMES was seen."""
        self.happened.setdefault(name, witness)

    @property
    def anomalies(self) -> int:
        """All anomalies together."""
        return sum(self.counts.values())

    @property
    def exercised(self) -> bool:
        """Whether there was anything to judge."""
        return bool(self.messages and self.deliveries and self.promises)

    @property
    def coverage(self) -> list[Covered]:
        """How often each property was tested: those that were, and those that the run had to test."""
        always = [
            Covered(
                name=name,
                kind="always",
                checked=max(self.checked[name], self.counts[name]),
                held=max(self.checked[name] - self.counts[name], 0),
                witness=meaning,
            )
            for name, meaning in PROPERTIES.items()
            if name in self.goals or self.checked[name] or self.counts[name]
        ]
        sometimes = [
            Covered(
                name=name,
                kind="sometimes",
                checked=1,
                held=int(name in self.happened),
                witness=self.happened.get(name, meaning),
            )
            for name, meaning in SOMETIMES.items()
            if name in self.goals or name in self.happened
        ]
        return [*always, *sometimes, *self._balance()]

    def _balance(self) -> list[Covered]:
        ledger = self.ledger
        if not ledger.invoked and not ledger.obligations:
            return []
        sums = (
            f"{ledger.invoked} invoked = {ledger.ok} ok + {ledger.failed} failed + "
            f"{ledger.indeterminate} indeterminate; {ledger.rows} stored = {ledger.stored_ok} promised + "
            f"{ledger.recovered} recovered; {ledger.obligations} obligations = {ledger.delivered} "
            f"delivered + {ledger.pending} pending"
        )
        held = int(ledger.balanced)
        return [Covered(name="ledger", kind="always", checked=1, held=held, witness=sums)]

    @property
    def untested(self) -> list[str]:
        """What this run neither tested nor had to test."""
        shown = {covered.name for covered in self.coverage}
        return [name for name in (*PROPERTIES, *SOMETIMES) if name not in shown]
