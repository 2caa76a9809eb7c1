"""`perf e2e failure-recovery [--fault NAME]`: everything breaks on purpose, and nothing may be lost (T10, T11).

Each fault has accounts, a second server and a history of its own, which is judged by itself; without
--fault they come one after the other. `perf.faults` has them, `parts.ordeal` is what happens to each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perf import faults
from perf.checkers import Judgement
from perf.coverage import Covered
from perf.faults import nemesis
from perf.faults.schedule import moment
from perf.measure.latency import Latency
from perf.rig.accounts import Account
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts import dose, verdicts
from perf.scenarios.parts.endured import Endured
from perf.scenarios.parts.ordeal import endure
from perf.scenarios.parts.shared import agreement, conversations_of
from perf.targets import TABLE, Outcome, outcome

QUICK = ("server-kill", "postgres-kill")  # what a quick run makes do with
LONGEST_S = 20.0  # that a fault and its recovery are reckoned with
STARTING_S = 10.0  # of the second server and the devices


def names(options: Options) -> list[str]:
    """The faults of a run, in order."""
    if options.fault is not None:
        return [options.fault]
    return list(QUICK if options.quick else faults.ALL)


def crowd(options: Options) -> Crowd:
    """A few conversations for each fault."""
    rooms = dose.conversations(options) * len(names(options))
    return Crowd(conversations=rooms, members=dose.members(options))


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    reaching = dose.wanted(options) / (dose.rate_of(options) * dose.members(options))
    each = STARTING_S + max(dose.calm_s(options) + LONGEST_S, reaching)
    return {
        "faults": {name: _foretold(options, name) for name in names(options)},
        "rate": dose.rate_of(options),
        "deliveries_per_fault": dose.wanted(options),
        "seconds": round(each * len(names(options))),
    }


def _foretold(options: Options, name: str) -> str:
    known = faults.ALL[name]
    if reason := known.why_not():
        return f"not here: {reason}"
    after_s, hold_s = moment(options.seed, name, known.hold_s)
    row = [one.name for one in nemesis.plan(options.seed, faults.ANYWHERE)]
    what = f"{known.what}: {', '.join(row)}" if name == nemesis.NAME else known.what
    return f"{what}; {after_s:.1f} s after the calm, for {hold_s:.1f} s"


async def run(stage: Stage) -> Findings:
    """Endure one fault after the other."""
    chosen = names(stage.options)
    endured = []
    with stage.progress.bar("faults", len(chosen)) as bar:
        for name, accounts in zip(chosen, _groups(stage, len(chosen)), strict=True):
            one = await endure(stage, name, accounts)
            endured.append(one)
            stage.progress.say(f"{name}: {one.verdict}, recovered after {one.recovery_s} s")
            bar.advance()
    return findings(endured)


def _groups(stage: Stage, count: int) -> list[list[Account]]:
    """The accounts of each fault."""
    accounts = stage.environment.accounts
    rooms = conversations_of(accounts)
    each = len(rooms) // count
    owner = {room: at // each for at, room in enumerate(rooms)}
    groups: list[list[Account]] = [[] for _ in range(count)]
    for account in accounts:
        groups[owner[account.conversations[0]]].append(account)
    return groups


def findings(endured: Sequence[Endured]) -> Findings:
    """What all faults together come to."""
    judgement = verdicts.together({one.name: one.judgement for one in endured})
    after = Latency()
    for one in endured:
        after.merge(one.after)
    unshown = [f"{one.name}: {one.skipped}" for one in endured if one.skipped]
    unshown += [f"{one.name}: nobody felt {name}" for one in endured for name in one.unfelt]
    unshown += [
        f"{one.name}: {name} was not tested"
        for one in endured
        for name in one.untested
        if not one.skipped
    ]
    return Findings(
        outcomes=[*agreement(judgement), recovery(endured)],
        judgement=judgement,
        latency=after.summary(),
        steps=[one.row() for one in endured],
        figures={
            "not_judged": {
                one.name: out for one in endured if (out := one.judgement.tolerated["out of reach"])
            }
        },
        coverage=[_felt(one) for one in endured] + _tested(endured, judgement),
        broken=[f"{one.name}: {sentence}" for one in endured for sentence in one.broken],
        unknown=[
            *unshown,
            *(f"{one.name}: {why}" for one in endured for why in one.judgement.problems),
        ],
        spectra={one.name: one.after for one in endured if one.after.count},
    )


def recovery(endured: Sequence[Endured]) -> Outcome:
    """The slowest recovery; not measured if one never recovered, which is told apart as broken."""
    known = {one.name: one.recovery_s for one in endured if one.recovery_s is not None}
    if len(known) < len(endured) or not known:
        return outcome("T11", None, source="not every fault was recovered from")
    worst = max(known, key=lambda name: known[name])
    goal = TABLE["T11"].goal
    within = sum(value < goal for value in known.values())
    source = f"the slowest of {len(known)} faults, {worst}; {within} were within {goal:.0f} s"
    return outcome("T11", known[worst], source=source)


def _felt(one: Endured) -> Covered:
    held = int(any(one.felt.values()))
    witness = f"{one.what}: {one.row()['felt']}"
    return Covered(name=f"{one.name} was felt", kind="sometimes", checked=1, held=held, witness=witness)  # fmt: skip


def _tested(endured: Sequence[Endured], judgement: Judgement) -> list[Covered]:
    """How often each property was tested; and each fault's deliveries, which must be enough."""
    return [
        *judgement.coverage,
        *(
            Covered(
                name=f"{one.name}: what arrived was judged",
                kind="sometimes",
                checked=one.judgement.deliveries,
                held=one.judgement.deliveries if one.judgement.exercised else 0,
            )
            for one in endured
        ),
    ]


SCENARIO = Scenario(
    name="failure-recovery",
    group="e2e",
    title="everything breaks on purpose: what is lost, and how soon all is well again",
    crowd=crowd,
    plan=plan,
    run=run,
    judged=False,
    kills=True,
)
