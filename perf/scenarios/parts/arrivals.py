"""Which device was shown which message when, by its body; and whether its row was there when the first one was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from messaging.protocol import frames
from perf.coverage import Covered
from perf.history.testimony import clock
from perf.load.device import Device
from perf.load.observer import Troubles
from perf.measure.latency import Latency
from perf.rig.database import Connection

ROW = "SELECT seq FROM messaging_message WHERE id = %s"
NAME = "a row could be read when its first device was told of it"

First = Callable[[frames.Message, float], object]


@dataclass(kw_only=True)
class Expected:
    """A message that was written, and how often each listener was shown it."""

    conversation: str
    begun: float
    latency: Latency
    shown: dict[object, int] = field(default_factory=dict)


class Arrivals(Troubles):
    """Counts by body; bodies are unique in a run. `first` is told of each message's first arrival anywhere."""

    def __init__(self, first: First) -> None:
        super().__init__()
        self._first, self._expected = first, dict[str, Expected]()
        self._present: Mapping[str, set[object]] = {}
        self._order: dict[tuple[object, str], list[str]] = {}

    def expect(self, present: Mapping[str, set[object]]) -> None:
        """Say who listens in each conversation."""
        self._present = present

    def announce(
        self, conversation: str, bodies: Iterable[str], *, begun: float, latency: Latency
    ) -> None:
        """Messages are about to be written, at `begun` (s)."""
        for body in bodies:
            self._expected[body] = Expected(conversation=conversation, begun=begun, latency=latency)

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """A device was shown messages."""
        self._heard(device.number, messages, now)

    def heard_by(self, kind: str) -> Callable[[Sequence[frames.Message], float], None]:
        """What a listener that is no device tells: one of this kind is in each conversation."""

        def heard(messages: Sequence[frames.Message], now: float) -> None:
            self._heard(kind, messages, now)

        return heard

    def _heard(self, who: object, messages: Sequence[frames.Message], now: float) -> None:
        for message in messages:
            expected = self._expected.get(message.body)
            if expected is None:
                continue
            if not expected.shown:
                self._first(message, now)
            expected.shown[who] = expected.shown.get(who, 0) + 1
            expected.latency.record(max(now - expected.begun, 0.0))
            self._order.setdefault((who, expected.conversation), []).append(message.body)

    def told(self, bodies: Iterable[str]) -> int:
        """How often any of these was shown to anyone."""
        return sum(sum(self._expected[body].shown.values()) for body in bodies)

    def due(self, bodies: Iterable[str]) -> int:
        """How often they have to be shown."""
        return sum(len(self._present[self._expected[body].conversation]) for body in bodies)

    def counted(self, bodies: Iterable[str]) -> tuple[int, int]:
        """How many showings happened exactly once, and how many are due."""
        once = due = 0
        for body in bodies:
            expected = self._expected[body]
            present = self._present[expected.conversation]
            once += sum(expected.shown.get(who) == 1 for who in present)
            due += len(present)
        return once, due

    def complete(self) -> bool:
        """Whether everything was shown to everyone."""
        return all(
            self._present[one.conversation] <= one.shown.keys() for one in self._expected.values()
        )

    def agreed(self, conversation: str) -> tuple[int, int]:
        """How many listeners were shown the same in the same order as the first one, and how many there are."""
        orders = [self._order.get((who, conversation), []) for who in self._present[conversation]]
        return sum(one == orders[0] for one in orders), len(orders)


class Witness:
    """Reads each row on a connection of its own as soon as the first device was told of it.

    It can only be late: a row that became visible within `delay` after it was told would look innocent.
    """

    def __init__(self, connection: Connection) -> None:
        self.delay = Latency()  # from the arrival to the moment at which the row was asked for
        self._connection = connection
        self._waiting: asyncio.Queue[tuple[frames.Message, float]] = asyncio.Queue()
        self._read = self._there = 0
        self._missing = ""

    def first(self, message: frames.Message, now: float) -> None:
        """A message arrived somewhere for the first time."""
        self._waiting.put_nowait((message, now))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Read for the time inside. Raises psycopg.Error."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._watch())
            try:
                yield
            finally:
                task.cancel()

    async def done(self) -> None:
        """Wait until every row was asked for."""
        await self._waiting.join()

    async def _watch(self) -> None:
        while True:
            message, arrived = await self._waiting.get()
            self.delay.record(max(clock() - arrived, 0.0))
            row = await (await self._connection.execute(ROW, [message.id])).fetchone()
            self._read += 1
            if row is not None and row[0] >= message.seq:
                self._there += 1
            elif not self._missing:
                self._missing = f"message {message.id} was told as change {message.seq}: {row}"
            self._waiting.task_done()

    def covered(self) -> Covered:
        """How many rows were read, and how many were there."""
        return Covered(
            name=NAME, kind="always", checked=self._read, held=self._there, witness=self._missing
        )
