"""REST load: an open loop of sends, edits, pages back and receipts, each timed from its intended moment.

What is sent and edited goes to the history like a device's own requests, so that the judge compares it
with what listening devices saw and with what is stored. Some sends are repeated under the same
`client_id`, half of them at the same time on another connection: both must get the first result.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, NamedTuple, TypeAlias

from perf.history.events import Acked, Change, Fetched, Sent
from perf.history.recorder import Recorder, details, digest, envelope, origin, shown_file
from perf.history.testimony import clock, nanoseconds
from perf.load.generator import Generator
from perf.load.rest import Answer, NoAnswer, Rest
from perf.load.workload import TICK_S, body
from perf.measure.latency import Latency
from perf.measure.meter import Meter
from perf.rig.accounts import Account

Kind: TypeAlias = Literal["send", "edit", "page", "receipts"]
WEIGHTS: Mapping[Kind, float] = {"send": 0.4, "edit": 0.15, "page": 0.3, "receipts": 0.15}
REPEATED = 0.2  # of the sends are made twice
PAGE = 50  # messages asked for
JUDGED = 10  # every so many pages are for the judge: all would be most of the history
LENGTH = 100  # characters of a message
SERVER_ERROR, FOR_NOW = 500, {429, 503}  # the latter are refusals that may be repeated


class Due(NamedTuple):
    """A request: when it was intended, where its time goes, and whether to make it twice."""

    intended: float
    whole: Latency
    again: float | None  # below 0.5: both at the same time


class Kept(NamedTuple):
    """A message of a caller, as the API answered."""

    id: str
    version: int


class Repeat(NamedTuple):
    """A send that was made twice, and what both answers said."""

    client_id: str
    first: Mapping[str, Any]
    second: Mapping[str, Any]
    statuses: tuple[int, int]


@dataclass(kw_only=True)
class Caller:
    """A device that uses only the REST API."""

    account: Account
    number: int
    kept: list[Kept] = field(default_factory=list)
    sent: int = 0
    # One write after the other: nothing orders two that are under way on two connections.
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    top: int = 1  # the greatest position it knows of


@dataclass(kw_only=True)
class Calls:
    """All requests of a run, and everything that was measured and found."""

    rest: Rest
    recorder: Recorder
    meter: Meter
    seed: int
    callers: list[Caller] = field(default_factory=list)
    latencies: dict[str, Latency] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    repeats: list[Repeat] = field(default_factory=list)
    pages: int = 0
    errors: list[str] = field(default_factory=list)  # server errors, and requests without an answer
    wrong: list[str] = field(default_factory=list)  # answers that are not what they must be
    answered: int = 0
    _number: int = 0

    def enlist(self, accounts: Sequence[Account]) -> None:
        """Make callers of these accounts."""
        for account in accounts:
            number = self.recorder.device(id=account.device, user=account.user)
            self.callers.append(Caller(account=account, number=number))

    async def run(
        self, *, rate: float, seconds: float, generator: Generator, whole: Latency
    ) -> tuple[int, int]:
        """Make `rate` requests a second at moments of a Poisson process; return how many, and how many were answered in time.

        In time is by the end of the step; all are waited for. `whole` gets the latencies of all of them.
        """
        dice = Random(f"{self.seed} {rate}")
        begun, at, tasks = clock(), 0.0, []
        answered = self.answered
        while (at := at + dice.expovariate(rate)) < seconds:
            intended = begun + at
            if (wait := intended - clock()) > TICK_S / 2:
                await asyncio.sleep(wait)
            generator.sent(max(clock() - intended, 0.0))
            self.meter.count("load.asked")
            caller = dice.choice(
                [one for one in self.callers if not one.writing.locked()] or self.callers
            )
            kind = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            again = dice.random() if dice.random() < REPEATED else None
            work = self._call(caller, kind, Due(min(intended, clock()), whole, again))
            tasks.append(asyncio.create_task(work))
        await asyncio.sleep(max(begun + seconds - clock(), 0.0))
        in_time = self.answered - answered
        await asyncio.gather(*tasks)
        return len(tasks), in_time

    async def _call(self, caller: Caller, kind: Kind, due: Due) -> None:
        """Make one request; an error is noted and ends nothing else."""
        try:
            if kind == "page":
                await self._page(caller, due)
            elif kind == "receipts" and caller.kept:
                await self._receipts(caller, due)
            else:
                async with caller.writing:
                    await self._write(caller, kind, due)
        except NoAnswer as error:
            self.errors.append(str(error))

    async def _write(self, caller: Caller, kind: Kind, due: Due) -> None:
        """Send or edit; who has nothing to edit or to ask for yet sends."""
        if kind == "edit" and caller.kept:
            await self._edit(caller, caller.kept.pop(), due)
        else:
            await self._send(caller, due)

    async def _send(self, caller: Caller, due: Due) -> None:
        self._number += 1
        caller.sent += 1
        key = f"{self.recorder.run}.{caller.number}.{caller.sent}"
        conversation, text = caller.account.conversations[0], body(LENGTH, self._number)
        path, given = (
            f"/api/conversations/{conversation}/messages",
            {"client_id": key, "body": text},
        )
        self._record_sent(caller, key, text, due)
        asked = self._timed("send", caller, due, "POST", path, given=given)
        if due.again is None:
            answer = await asked
            repeat = None
        elif due.again < 0.5:
            answer, repeat = await asyncio.gather(asked, self._ask("POST", path, caller, given))
        else:
            answer = await asked
            repeat = await self._ask("POST", path, caller, given)
        if repeat is not None and answer.status < 300 and repeat.status < 300:
            pair = (answer.status, repeat.status)
            self.repeats.append(Repeat(key, answer.json(), repeat.json(), pair))
        stored = next((one for one in (answer, repeat) if one and one.status in (200, 201)), None)
        if stored is not None:
            self._keep(caller, key, stored.json())

    async def _edit(self, caller: Caller, kept: Kept, due: Due) -> None:
        self._number += 1
        caller.sent += 1
        key = f"{self.recorder.run}.{caller.number}.{caller.sent}"
        text = body(LENGTH, self._number)
        given = {"client_id": key, "body": text, "base_version": kept.version}
        self._record_sent(caller, key, text, due, message=kept.id)
        path = f"/api/messages/{kept.id}"
        answer = await self._timed("edit", caller, due, "PATCH", path, given=given)
        if answer.status == 200:
            self._keep(caller, key, answer.json())

    async def _page(self, caller: Caller, due: Due) -> None:
        conversation, before = caller.account.conversations[0], caller.top + 1
        path = f"/api/conversations/{conversation}/messages?before={before}&limit={PAGE}"
        asked = nanoseconds(clock())
        answer = await self._timed("page", caller, due, "GET", path)
        if answer.status != 200:
            return
        self.pages += 1
        shown = answer.json()["messages"]
        if self.pages % JUDGED == 1:
            changes = tuple(_change(one) for one in shown)
            now = nanoseconds(clock())
            self.recorder.record(Fetched(now, caller.number, asked, conversation, before, changes))
        places = [before, *(int(one["position"]) for one in shown)]
        if places != sorted(set(places), reverse=True) or len(places) > PAGE + 1:
            self.wrong.append(
                f"the page before {before} of {conversation} had positions {places[1:]}"
            )

    async def _receipts(self, caller: Caller, due: Due) -> None:
        path = f"/api/messages/{caller.kept[-1].id}/receipts"
        await self._timed("receipts", caller, due, "GET", path)

    async def _timed(
        self,
        kind: Kind,
        caller: Caller,
        due: Due,
        method: str,
        path: str,
        *,
        given: Mapping[str, object] | None = None,
    ) -> Answer:
        answer = await self._ask(method, path, caller, given)
        took = clock() - due.intended
        self.answered += 1
        due.whole.record(took)
        self.latencies.setdefault(kind, Latency()).record(took)
        self.meter.time(f"REST {kind}", took)
        self.meter.count("load.acked")
        self.statuses[f"{kind} {answer.status}"] += 1
        return answer

    async def _ask(
        self, method: str, path: str, caller: Caller, given: Mapping[str, object] | None
    ) -> Answer:
        answer = await self.rest.ask(method, path, token=caller.account.token, body=given)
        if answer.status >= SERVER_ERROR and answer.status not in FOR_NOW:
            self.errors.append(f"{method} {path}: {answer.status} {answer.body[:200]!r}")
        elif answer.status >= 400 and answer.status not in FOR_NOW:
            self.wrong.append(f"{method} {path}: {answer.status} {answer.body[:200]!r}")
        return answer

    def _record_sent(
        self, caller: Caller, key: str, text: str, due: Due, *, message: str | None = None
    ) -> None:
        self.meter.count("load.sent")
        self.recorder.record(
            Sent(
                t=nanoseconds(clock()),
                device=caller.number,
                intended=nanoseconds(due.intended),
                client_id=key,
                conversation=caller.account.conversations[0],
                digest=digest(text),
                what="send" if message is None else "edit",
                message=message,
            )
        )

    def _keep(self, caller: Caller, key: str, stored: Mapping[str, Any]) -> None:
        """Note what the answer promised; the message may be edited from now on."""
        caller.kept.append(Kept(stored["message"], stored["version"]))
        caller.top = max(caller.top, int(stored["position"]))
        self.recorder.record(
            Acked(
                t=nanoseconds(clock()),
                device=caller.number,
                client_id=key,
                message=stored["message"],
                seq=stored["seq"],
                position=stored["position"],
                version=stored["version"],
            )
        )


def _change(shown: Mapping[str, Any]) -> Change:
    """A message of a page, as a history has it."""
    deleted = shown.get("deleted") is not None
    files = [shown_file(file) for file in shown.get("attachments") or ()]
    return Change(
        shown["seq"],
        shown["id"],
        shown["position"],
        shown["version"],
        shown.get("device"),
        shown.get("client_id"),
        0 if deleted else digest(shown["body"]),
        deleted,
        envelope(shown["kind"], shown.get("reply_to"), [file[0] for file in files]),
        origin(shown.get("user"), shown["created"]),
        details(shown.get("edited") or 0, shown.get("deleted") or 0, files),
    )
