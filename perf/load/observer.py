"""Who is told of what happens to the devices of a fleet. All moments are seconds of `clock`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from messaging.protocol import frames

if TYPE_CHECKING:
    from perf.load.device import Device


@dataclass(slots=True, kw_only=True)
class Sent:
    """A request under way. `intended` is when the plan wanted it sent, `actual` when it was.

    `of` and `base_version` say what an edit or deletion changes; `message`, `version` and `seq` are
    known once it is stored.
    """

    what: Literal["send", "edit", "delete"] = "send"
    conversation: str
    client_id: str
    intended: float
    actual: float
    message: str | None = None
    version: int = 0
    seq: int = 0
    of: str | None = None
    base_version: int = 0
    session: int = 0  # which of the device's connections it last went out on


class Observer:
    """Told of what happens to the devices of a fleet; the default does nothing."""

    def sent(self, device: Device, sent: Sent) -> None:
        """A message was queued."""

    def acked(self, device: Device, sent: Sent, now: float) -> None:
        """A request was answered with `ok`, or the feed has shown that it is stored."""

    def delivered(self, device: Device, messages: Sequence[frames.Message], now: float) -> None:
        """Changes were applied."""

    def marked(self, device: Device, frame: frames.Receipts, now: float) -> None:
        """Marks of the conversation's devices moved."""

    def shown(self, device: Device, frame: frames.Presence, now: float) -> None:
        """The device was shown how some users are."""

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """A request was refused; a `final` one is not repeated."""

    def gave_up(self, device: Device, sent: Sent, error: frames.Error) -> None:
        """A request of the device was refused for good; `refused` was told, too."""

    def typed(self, device: Device, frame: frames.Typed, now: float) -> None:
        """The device was told that somebody is typing, or not any more."""

    def closed(self, device: Device, code: int) -> None:
        """The connection ended, and the rig had not asked for it."""


class Troubles(Observer):
    """Counts what should not be."""

    def __init__(self) -> None:
        self.refusals: dict[str, int] = {}  # by code
        self.closures: list[int] = []  # the codes of lost connections
        self.declined = 0  # refusals for good

    def refused(self, device: Device, code: str, *, final: bool) -> None:
        """Count the refusal; the device itself repeats what may be repeated."""
        self.refusals[code] = self.refusals.get(code, 0) + 1
        self.declined += final

    def closed(self, device: Device, code: int) -> None:
        """Count the closure."""
        self.closures.append(code)
