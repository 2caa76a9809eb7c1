"""Several judgements as one: counts are added, examples keep the name of whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from perf.checkers import Judgement
from perf.checkers.judgement import WITNESSES, Ledger


def together(judgements: Mapping[str, Judgement]) -> Judgement:
    """One judgement of all of these. A goal of any is a goal of all."""
    total = Judgement()
    for name, one in judgements.items():
        add(total, name, one)
    return total


def add(total: Judgement, name: str, one: Judgement) -> None:
    """Add one of this name to those that were added before."""
    for anomaly, count in one.counts.items():
        total.counts[anomaly] = total.counts.get(anomaly, 0) + count
    for what, count in one.tolerated.items():
        total.tolerated[what] += count
    for what, count in one.checked.items():
        total.checked[what] += count
    for anomaly, sentences in one.witnesses.items():
        kept = total.witnesses.setdefault(anomaly, [])
        kept += [f"{name}: {sentence}" for sentence in sentences][: WITNESSES - len(kept)]
    total.happened = {**one.happened, **total.happened}
    total.goals |= one.goals
    total.messages += one.messages
    total.deliveries += one.deliveries
    total.expected += one.expected
    total.promises += one.promises
    total.ledger = _added(total.ledger, one.ledger)


def _added(one: Ledger, other: Ledger) -> Ledger:
    return Ledger(
        **{
            field.name: getattr(one, field.name) + getattr(other, field.name)
            for field in fields(Ledger)
        }
    )
