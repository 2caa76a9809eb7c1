"""Everyone in a run of delivery confirmations: a small conversation, a large one, and a session that says old marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from perf.load.device import Device
from perf.load.fleet import Fleet, until
from perf.load.generator import Generator
from perf.load.observer import Sent
from perf.measure.latency import Latency
from perf.rig.database import Connection
from perf.scenario import Stage
from perf.scenarios.parts.backlog import Homecoming
from perf.scenarios.parts.checks import Checks
from perf.scenarios.parts.plain import Plain
from perf.scenarios.parts.ticks import SEEN_S, Desk, Marks

FEW, DEVICES_EACH = 3, 4  # users of the small conversation, and everyone's devices
ROUNDS, QUICK_ROUNDS = 20, 2


@dataclass(kw_only=True)
class Receiving:
    """One run's parts. `devices` are those of the small conversation, of one user after the other."""

    stage: Stage
    fleets: Sequence[Fleet]
    marks: Marks
    desk: Desk
    connection: Connection
    small: str
    large: str
    devices: list[Device]
    old: Plain  # a session that will say old marks
    old_device: str
    generator: Generator = field(default_factory=Generator)
    checks: Checks = field(default_factory=Checks)
    told: Latency = field(default_factory=Latency)  # from a send to all ticks at its sender
    receipts: Latency = field(default_factory=Latency)  # from a send to the read receipt
    badges: Latency = field(default_factory=Latency)  # from reading to the badge elsewhere
    home: Homecoming | None = None

    @property
    def sender(self) -> Device:
        """Who sends; its user's other devices are the next ones."""
        return self.devices[0]

    @property
    def rounds(self) -> int:
        """How often each thing is tried."""
        return QUICK_ROUNDS if self.stage.options.quick else ROUNDS

    async def say(self, conversation: str, text: str) -> Sent:
        """The sender sends; returns once that is stored. The body begins with the conversation."""
        sent = self.sender.send(conversation, f"{conversation} {text}")
        self.sender.flush()
        await until(lambda: bool(sent.seq), within_s=SEEN_S)
        return sent
