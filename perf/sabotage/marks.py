"""Marks that go back, and marks that nobody said."""

from __future__ import annotations

import msgspec

from messaging.protocol.frames import DeviceMark, Mark, Receipts
from messaging.protocol.server.session import Session
from perf.sabotage.every import Every

REGRESSED = 5  # frames of marks between two
BACK = 3  # changes


def receipt() -> None:
    """Show older marks after newer ones."""
    every, offer = Every(REGRESSED), Session.offer_marks

    def offer_marks(
        self: Session, conversation: str, marks: list[DeviceMark], encoded: bytes
    ) -> None:
        offer(self, conversation, marks, encoded)
        every.count()
        older = [_older(mark) for mark in marks if mark.read > BACK]
        if older and every.due():
            frame = Receipts(conversation=conversation, marks=older)
            offer(self, conversation, older, self.codec.part(frame))

    Session.offer_marks = offer_marks  # type: ignore[method-assign]


def eager() -> None:
    """Take what was written to a socket for delivered, whether the device has said so or not."""

    def written(self: Session) -> list[Mark]:
        return [] if len(self._out) else self.feeds.delivered(self.window.written())

    Session.written = written  # type: ignore[method-assign]


def _older(mark: DeviceMark) -> DeviceMark:
    return msgspec.structs.replace(mark, delivered=mark.delivered - BACK, read=mark.read - BACK)
