"""`perf stress connection-flood`: far more connection attempts at once than are accepted in time.

Beside the calm devices, waves of honest devices that all come back at once, and of strangers of six
kinds. Whoever gets as far as a WebSocket must be told goodbye with a reason and a close code; whoever
does not must not be kept for ever.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from time import monotonic
from typing import Any, Literal, TypeAlias

from messaging.protocol import frames
from messaging.protocol.errors import CloseCode
from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.fleet import Fleet
from perf.load.line import LOST, NO_CODE
from perf.load.stranger import HandshakeFailed, Stranger
from perf.measure.latency import Latency
from perf.rig.environment import Crowd
from perf.scenario import Findings, Options, Scenario, Stage
from perf.scenarios.parts.flood import (
    LIMIT_S,
    MEMBERS,
    Flood,
    calm_conversations,
    flooded,
    phases,
    silence,
    split,
)
from perf.scenarios.parts.shared import starts_of

HONEST, QUICK_HONEST = 500, 60  # devices that come back at once, in every wave
STRANGERS, QUICK_STRANGERS = 2_000, 500  # of each wave
WAVES, QUICK_WAVES = 2, 2
WAVE_S, QUICK_WAVE_S = 5.0, 1.0
ELSEWHERE = "https://elsewhere.example"
AGAIN_S = 1.0  # between two attempts of a device
CLOSED_WITHIN_S = (
    15.0  # of its handshake a stranger must be told to go: three times the server's 5 s
)
PATIENCE_S = LIMIT_S  # with a stranger, from its first byte; a server at rest gives it 5 s

NOBODY = "a token of no device"

Kind: TypeAlias = Literal["silent", "half", "mute", "forged", "foreign", "noisy"]
KINDS: tuple[Kind, ...] = ("silent", "half", "mute", "forged", "foreign", "noisy")
"""Says nothing at all; half a request; a WebSocket without hello; a wrong token; a page of a wrong
origin; frames that are none. The first three wait to be thrown out."""
LAST: tuple[Kind, ...] = ("forged", "foreign", "noisy")
"""The kinds of the last wave: whose end comes at once, so that it is not waited for."""

DUE: dict[Kind, CloseCode] = {
    "mute": CloseCode.HELLO_TIMEOUT,
    "forged": CloseCode.UNAUTHORIZED,
    "foreign": CloseCode.ORIGIN,
    "noisy": CloseCode.ABUSE,
}
"""With which code each that becomes a WebSocket is to be closed."""


@dataclass(kw_only=True)
class Visits:
    """What became of the strangers, by kind: the code after a goodbye, or how else it ended."""

    ends: dict[Kind, Counter[str]] = field(
        default_factory=lambda: {kind: Counter() for kind in KINDS}
    )
    waited: Latency = field(
        default_factory=Latency
    )  # from the first byte to the handshake's answer
    greeted: int = 0

    def covered(self) -> list[Covered]:
        """Each kind that becomes a WebSocket is closed with its own code after its goodbye, or turned away as `full`."""
        return [self._of(kind, code) for kind, code in DUE.items()]

    def _of(self, kind: Kind, code: CloseCode) -> Covered:
        ends = self.ends[kind]
        due = {f"{int(one)} {one.reason}" for one in (code, CloseCode.FULL)}
        right = sum(ends[end] for end in due)
        # One whose handshake was never answered is no WebSocket that was closed.
        known = sum(count for end, count in ends.items() if not end.startswith("no handshake"))
        others = {end: count for end, count in ends.items() if end not in due}
        return Covered(
            name=f"a {kind} stranger is closed with {int(code)} after a goodbye, or turned away",
            kind="always",
            checked=known,
            held=right,
            witness=str(others) if others else "",
        )

    def kept(self) -> int:
        """Sockets that were no WebSocket and were still open when patience ended."""
        return sum(self.ends[kind]["still open"] for kind in ("silent", "half"))


def crowd(options: Options) -> Crowd:
    """The calm devices, and the honest ones of the flood."""
    honest = options.devices or (QUICK_HONEST if options.quick else HONEST)
    return Crowd(
        conversations=calm_conversations(options) + max(1, honest // MEMBERS), members=MEMBERS
    )


def plan(options: Options) -> dict[str, Any]:
    """What --dry-run prints."""
    waves, strangers = _waves(options), _strangers(options)
    return phases(
        options,
        flood_s=_flood_s(options),
        waves=waves,
        strangers_at_once=strangers,
        kinds=list(KINDS),
        honest_at_once=crowd(options).accounts - calm_conversations(options) * MEMBERS,
    )


def _waves(options: Options) -> int:
    if options.duration_s is not None:
        return max(1, round(options.duration_s / _wave_s(options)))
    return QUICK_WAVES if options.quick else WAVES


def _wave_s(options: Options) -> float:
    return QUICK_WAVE_S if options.quick else WAVE_S


def _strangers(options: Options) -> int:
    return QUICK_STRANGERS if options.quick else STRANGERS


def _flood_s(options: Options) -> float:
    return _waves(options) * _wave_s(options)


async def run(stage: Stage) -> Findings:
    """Wave after wave, then calm."""
    options, visits, say = stage.options, Visits(), stage.progress.say
    _, honest = split(stage.environment.accounts, options)
    async with flooded(stage) as flood:
        fleet = flood.crew()
        say(f"connecting {len(honest)} devices that will come back all at once")
        await fleet.connect(honest, starts=await starts_of(stage.environment))
        before = len(fleet.connect_s)
        async with asyncio.TaskGroup() as guests:

            async def storm() -> None:
                for number in range(_waves(options)):
                    due = clock() + _wave_s(options)
                    last = number == _waves(options) - 1
                    say(
                        f"wave {number + 1}: {_strangers(options)} strangers, {len(honest)} devices"
                    )
                    for kind in islice(cycle(LAST if last else KINDS), _strangers(options)):
                        guests.create_task(_visit(stage, kind, visits))
                    for device in fleet.devices:
                        if device.online:
                            device.leave()
                            guests.create_task(_return(flood, fleet, device))
                    await asyncio.sleep(due - clock())

            await flood.endure(storm, flood_s=_flood_s(options))
            say("hearing the last strangers out")
        flood.recovered_s = await _all_back(flood, fleet)
        findings = flood.findings()
        await silence(flood, findings)
    _conclude(visits, fleet, before, findings)
    return findings


async def _return(flood: Flood, fleet: Fleet, device: Device) -> None:
    """A device comes back, and tries again as clients do, until the recovery's limit is over."""
    while not flood.until or clock() < flood.until + LIMIT_S:
        if await fleet.open(device):
            return
        await asyncio.sleep(AGAIN_S)


async def _all_back(flood: Flood, fleet: Fleet) -> float | None:
    """When the calm devices were served as before *and* every honest device was back; None if never."""
    back = max((device.since for device in fleet.devices), default=0.0) - flood.until
    if flood.recovered_s is None or fleet.online < len(fleet.devices):
        return None
    return max(flood.recovered_s, back)


async def _visit(stage: Stage, kind: Kind, visits: Visits) -> None:
    """One stranger, from its first byte to its end."""
    stranger, begun = Stranger(stage.environment.url), monotonic()
    stage.series.count("load.strangers")
    try:
        async with asyncio.timeout(PATIENCE_S) as patience:
            await stranger.connect()
            if kind in DUE:
                await stranger.handshake(origin=ELSEWHERE if kind == "foreign" else None)
                visits.greeted += 1
                visits.waited.record(monotonic() - begun)
                patience.reschedule(asyncio.get_running_loop().time() + CLOSED_WITHIN_S)
            end = await _behave(stranger, kind)
    except TimeoutError:
        waits = kind in DUE and not stranger.greeted
        end = "no handshake: no answer" if waits else "still open"
    except HandshakeFailed as error:
        end = f"no handshake: {error}"
    except (OSError, asyncio.IncompleteReadError) as error:
        end = f"no handshake: {type(error).__name__}"
    finally:
        stranger.leave()
    visits.ends[kind][end] += 1


async def _behave(stranger: Stranger, kind: Kind) -> str:
    """Do what its kind does until the server ends it; return how it did."""
    if kind in ("silent", "half"):
        if kind == "half":
            stranger.write(b"GET /ws/ HTTP/1.1\r\nHost: ")
        await stranger.closed()
        return "closed"
    if kind == "forged":
        stranger.say([frames.Hello(token=NOBODY)])
    elif kind == "noisy":
        for _ in range(100):
            stranger.message(b"no frame")
    code = await stranger.end()
    if code == LOST:
        return "cut off"
    if code == NO_CODE:
        return "closed without a code"
    return f"{code} {stranger.goodbye or 'without goodbye'}"


def _conclude(visits: Visits, honest: Fleet, before: int, findings: Findings) -> None:
    connects = Latency()
    connects.extend(honest.connect_s[before:])
    findings.coverage += visits.covered()
    findings.figures |= {
        "strangers": {kind: dict(ends) for kind, ends in visits.ends.items()},
        "handshakes_of_strangers": visits.greeted,
        "handshake_p99_ms": visits.waited.percentile(99),
        "honest_connects": connects.count,
        "honest_connect_p50_ms": connects.percentile(50),
        "honest_connect_p99_ms": connects.percentile(99),
        "honest_attempts_that_failed": dict(Counter(honest.failures)),
    }
    findings.spectra["connection of honest devices, hello included"] = connects
    if kept := visits.kept():
        findings.broken.append(
            f"{kept} sockets that never became a connection were still held {PATIENCE_S:.0f} s after their first byte"
        )


SCENARIO = Scenario(
    name="connection-flood",
    group="stress",
    title="more connection attempts than are accepted, and the recovery",
    crowd=crowd,
    run=run,
    plan=plan,
    full=False,
    goals=frozenset({"lost", "lost ack", "reordered"}),
)
