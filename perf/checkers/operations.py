"""What the run asked for: each request once, with all its attempts and answers folded into one outcome.

A refusal settles a request only if it was definite, final, and neither was a connection lost nor an attempt
refused without knowing since it was begun: such an attempt may have been stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from perf.history.events import Acked, AnyEvent, Closed, Refused, Sent

Outcome: TypeAlias = Literal["ok", "failed", "indeterminate"]


@dataclass(slots=True, eq=False)
class Operation:
    """One request. `doubted`: a connection was lost before it was answered, or nobody knew what became of it."""

    sent: Sent
    acks: list[Acked] = field(default_factory=list)
    refusals: int = 0
    doubted: bool = False
    rejected: bool = False

    @property
    def outcome(self) -> Outcome:
        """What its device may know about it."""
        if self.acks:
            return "ok"
        return "failed" if self.rejected and not self.doubted else "indeterminate"

    @property
    def answered(self) -> int:
        """The moment (ns) from which its device knew that it is stored; the end of time if never."""
        return self.acks[0].t if self.acks else 1 << 63

    @property
    def place(self) -> int | None:
        """The number that it took in its conversation, as promised."""
        if not self.acks:
            return None
        ack = self.acks[0]
        return ack.position if self.sent.what == "send" else ack.seq


def fold(events: Iterable[AnyEvent]) -> dict[str, Operation]:
    """All requests by their key, in the order in which each device began them."""
    found: dict[str, Operation] = {}
    waiting: dict[int, dict[str, Operation]] = {}  # by device: not answered, not in doubt
    for event in events:
        match event:
            case Sent():
                operation = found[event.client_id] = Operation(event)
                waiting.setdefault(event.device, {})[event.client_id] = operation
            case Acked() if event.client_id in found:
                found[event.client_id].acks.append(event)
                waiting.get(event.device, {}).pop(event.client_id, None)
            case Refused() if event.client_id in found:
                operation = found[event.client_id]
                operation.refusals += 1
                operation.rejected = event.definite and event.final
                operation.doubted |= not event.definite
                if event.final:
                    waiting.get(event.device, {}).pop(event.client_id, None)
            case Closed():
                for operation in waiting.pop(event.device, {}).values():
                    operation.doubted = True
    return found
