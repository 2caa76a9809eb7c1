"""What a session takes of its device's allowance."""

from __future__ import annotations

from messaging.protocol.server.share import PARTS, Boundless, Share


class Sparing(Boundless):
    """Grants so many hints, then asks for 2 ms each."""

    def __init__(self, granted: int) -> None:
        self.left = granted

    def hint(self) -> int | None:  # type: ignore[override]
        self.left -= 1
        return None if self.left >= 0 else 2


def test_marks_are_counted_by_the_hundred() -> None:
    """A device that says 10,000 in each of its frames has a core to itself otherwise."""
    share = Share()
    share.allowance = allowance = Sparing(12)
    assert share.hint(parts=10 * PARTS)
    assert allowance.left == 1
    assert not share.hint(parts=100 * PARTS)
    assert (share.pause_ms(), share.pause_ms()) == (2, 0)


def test_what_is_said_by_itself_is_one() -> None:
    share = Share()
    share.allowance = allowance = Sparing(2)
    assert share.hint()
    assert share.hint(parts=PARTS - 1)
    assert allowance.left == 0
    assert not share.hint()
