"""What several scenarios need: still hands while measuring, the comparison at the end, troubles as findings."""

from __future__ import annotations

import gc
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from perf.checkers import Judgement
from perf.checkers.receipts import MOST_DEVICES
from perf.history.recorder import Recorder
from perf.history.testimony import clock
from perf.load.fleet import RESERVE, Fleet, FleetError, until
from perf.load.generator import Generator
from perf.load.observer import Troubles
from perf.load.probe import Resources
from perf.rig.accounts import Account
from perf.rig.database import connected, last_seqs
from perf.rig.environment import Environment
from perf.rig.limits import raise_file_limit
from perf.scenario import Findings, Stage
from perf.targets import Outcome, outcome

SETTLE_S = 30.0  # T11's limit: who has not recovered by then has failed
MARKS_S = 10.0  # patience with the last marks, which are shown within 100 ms on a machine at rest
MARKS_LOOK_S = 0.02


def run_name(seed: int) -> str:
    """A name for this run that no earlier one had: the beginning of every client_id."""
    return f"{seed:x}-{secrets.token_hex(4)}"


@contextmanager
def recorded(scenario: str, *, seed: int, full: bool = True) -> Iterator[Recorder]:
    """A recorder whose history nobody keeps."""
    with (
        tempfile.TemporaryDirectory(prefix="lockstep-history-") as directory,
        Recorder(
            Path(directory) / "0.jsonl",
            run=run_name(seed),
            scenario=scenario,
            seed=seed,
            full=full,
        ) as recorder,
    ):
        yield recorder


def conversations_of(accounts: Iterable[Account]) -> list[str]:
    """The conversations of these accounts, each once."""
    return list(dict.fromkeys(name for account in accounts for name in account.conversations))


def apart(accounts: Iterable[Account], *, first: int) -> tuple[list[Account], list[Account]]:
    """The first so many members of each conversation, and all others."""
    seen: Counter[str] = Counter()
    chosen: list[Account] = []
    others: list[Account] = []
    for account in accounts:
        conversation = account.conversations[0]
        seen[conversation] += 1
        (chosen if seen[conversation] <= first else others).append(account)
    return chosen, others


def usage_of(resources: Resources, group: str, figure: str) -> float | None:
    """A figure of a group of processes; None if no process of it was found."""
    usage = resources.usage.get(group)
    return float(getattr(usage, figure)) if usage is not None and usage.processes else None


@contextmanager
def still() -> Iterator[None]:
    """No garbage collection: a pause of the generator must not look like one of the server."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def starts_of(environment: Environment) -> dict[str, int]:
    """Where each conversation stands before the run; empty without a database to ask."""
    if environment.database_url is None:
        return {}
    async with connected(environment.database_url) as connection:
        return await last_seqs(connection, conversations_of(environment.accounts))


async def connect(stage: Stage, fleet: Fleet, accounts: Sequence[Account]) -> None:
    """Connect a device for each account, ten at a time, where the conversations stand now. Raises FleetError."""
    room = max(raise_file_limit() - RESERVE, 0)
    if len(accounts) > room:
        raise FleetError(f"{len(accounts):,} devices are more than the {room:,} that one process may open: fewer --devices, or a higher `ulimit -Hn`")  # fmt: skip
    starts = await starts_of(stage.environment)
    with stage.progress.bar(f"connecting {len(accounts):,} devices", len(accounts)) as bar:
        await fleet.connect(accounts, starts=starts, done=bar.advance)


async def settle(fleet: Fleet, findings: Findings, *others: Fleet) -> None:
    """Wait until everything has arrived, have every device say where it is, and end the sessions.

    Marks are waited for, too: a busy machine must not look like a server that loses them. Whether
    any is lost is for the judge.
    """
    fleets, begun = (fleet, *others), clock()
    level = [await one.quiesce(within_s=SETTLE_S) for one in fleets]
    pending, behind = sum(one.pending for one in fleets), sum(one.behind() for one in fleets)
    await until(lambda: not unconfirmed(*fleets), within_s=MARKS_S, look_s=MARKS_LOOK_S)
    if all(level):
        findings.figures["settled_after_s"] = round(clock() - begun, 2)
    else:
        findings.broken.append(
            f"after {SETTLE_S:.0f} s {pending} requests are unanswered, {behind} cursors behind"
        )
    for one in fleets:
        one.disconnect()


async def conclude(
    findings: Findings, troubles: Troubles, first: Fleet, *others: Fleet
) -> Findings:
    """The end of a suite with a fleet on each server: all level, what went wrong noted, the judge asked."""
    await settle(first, findings, *others)
    note_troubles(first, findings, troubles)
    for fleet in others:
        note_troubles(fleet, findings)
    findings.concluding = agreement
    return findings


def unconfirmed(*fleets: Fleet) -> int:
    """How many marks their own devices were not shown yet; where there are only counts none ever is."""
    devices = [one for fleet in fleets for one in fleet.devices if one.online]
    sizes = Counter(name for one in devices for name in one.account.conversations)
    return sum(sizes[name] <= MOST_DEVICES for one in devices for name in one.client.unsettled)


def agreement(judgement: Judgement) -> list[Outcome]:
    """What the judgement says of delivery and consistency, against their targets."""
    due, lost = judgement.expected, judgement.counts["lost"]
    compared = due + judgement.promises
    arrived = 100 * (1 - lost / due) if due else None
    consistent = 100 * (1 - judgement.anomalies / compared) if judgement.exercised else None
    return [
        outcome("T8", arrived, source=f"{due:,} stored changes due to devices, by identity; {judgement.ledger.pending:,} to devices that were away in the end"),
        outcome("T10", consistent, source="every promise and all that every device saw, against plain SQL"),
    ]  # fmt: skip


class Attempts(Protocol):
    """A fleet or a crew, as far as it says how connecting went."""

    @property
    def connect_s(self) -> Sequence[float]:
        """The seconds of each that worked."""

    @property
    def failures(self) -> Sequence[str]:
        """Why each other one did not."""


def connected_percent(*fleets: Attempts) -> float | None:
    """Share of connection attempts that led to a session."""
    opened = sum(len(fleet.connect_s) for fleet in fleets)
    attempts = opened + sum(len(fleet.failures) for fleet in fleets)
    return 100 * opened / attempts if attempts else None


def outcome_of(generator: Generator, key: str, measured: float | None, *, source: str) -> Outcome:
    """Hold a measurement against its target; a missed one says nothing if the generator itself was late."""
    found = outcome(key, measured, source=source)
    late = found.passed is False and generator.trouble is not None
    return distrusted(found, generator) if late else found


def distrusted(missed: Outcome, generator: Generator) -> Outcome:
    """A missed target as one that was not measured, because the generator was late."""
    why = f"{missed.measured} {missed.unit} says nothing of the server: {generator.trouble}"
    return msgspec.structs.replace(missed, measured=None, passed=None, reached=None, source=why)


def note_generator(generator: Generator, findings: Findings) -> None:
    """Say so if the generator was the bottleneck; what it spoilt is unknown then."""
    if generator.trouble is None:
        return
    findings.figures["banner"] = generator.trouble
    beyond = findings.latency.overflows  # they count from the plan that was not kept
    findings.latency = msgspec.structs.replace(findings.latency, overflows=0)
    if beyond or any(one.passed is None for one in findings.outcomes):
        findings.unknown.append(generator.trouble)


def note_troubles(fleet: Fleet, findings: Findings, *troubles: Troubles) -> None:
    """Count lost connections, refusals for good and failed connections as broken guarantees."""
    closures = [code for one in troubles for code in one.closures]
    if closures:
        findings.broken.append(
            f"{len(closures)} connections were lost, codes {sorted(set(closures))}"
        )
    declined = sum(one.declined for one in troubles)
    if declined:
        refusals = sum((Counter(one.refusals) for one in troubles), Counter())
        findings.broken.append(f"{declined} sends were refused for good: {dict(refusals)}")
    if fleet.failures:
        findings.broken.append(
            f"{len(fleet.failures)} devices could not connect: {fleet.failures[0]}"
        )
