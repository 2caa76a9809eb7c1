"""Who is told of what happens to the devices of a fleet. All moments are seconds of `perf_counter`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from messaging.protocol import frames
from perf.history import Page

if TYPE_CHECKING:
    from perf.device import Device


@dataclass(slots=True, kw_only=True)
class Sent:
    """A message under way. `intended` is when the plan wanted it sent, `actual` when it was."""

    conversation: str
    client_id: str
    intended: float
    actual: float


class Observer:
    """Told of what happens to the devices of a fleet; the default does nothing."""

    def sent(self, device: Device, sent: Sent) -> None:
        """A send was queued."""

    def acked(self, device: Device, sent: Sent, seq: int, now: float) -> None:
        """A send was answered with `ok`."""

    def delivered(self, device: Device, page: Page, now: float) -> None:
        """A page of changes was applied."""

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Marks of the conversation's devices moved."""

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """A request was refused; a `final` one is not repeated."""

    def closed(self, device: Device, code: int) -> None:
        """The connection ended, and the rig had not asked for it."""
