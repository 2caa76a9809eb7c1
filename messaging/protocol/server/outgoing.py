"""What waits for one socket: encoded frames in order; marks and presence held back newest-only.

*Bare* frames tell of nobody but their receiver and of nothing that is stored: they may leave when
nothing else may, and then overtake it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from messaging.protocol.frames import DeviceMark, Frame, Presence, Receipts, UserPresence

if TYPE_CHECKING:
    from messaging.protocol.codec import Codec

UNHEARD_BYTES = (
    262_144  # sent besides events since the client was last heard; then marks and presence are held
)
# Answers that may be large are short or refused while so much waits: a client that asks and does not read
# has up to 256 of them under way, each of up to some 100 KiB.
HEAVY_BYTES = 524_288
MOST_USERS = (
    500  # in one `presence` frame: with the longest texts still far below what a client takes
)
MESSAGE_BYTES = 65_536  # one WebSocket message stays below, unless a single frame is larger


class Outgoing:
    """The frames on their way to one client."""

    __slots__ = (
        "_bare",
        "_codec",
        "_encoded",
        "_held",
        "_present",
        "_stale",
        "_summaries",
        "_unheard",
    )

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._encoded: list[bytes] = []
        self._bare: list[int] = []  # their places in `_encoded`
        self._held: dict[str, dict[str, DeviceMark]] = {}
        self._summaries: dict[str, bytes] = {}
        self._present: dict[str, UserPresence] = {}  # bounded by whom the session watches
        self._stale: bool | None = None  # whether presence is, if that is to be told
        self._unheard = 0

    def __len__(self) -> int:
        return len(self._encoded)

    @property
    def holding(self) -> bool:
        """Whether marks or presence are held back."""
        return bool(self._held or self._summaries or self._stale is not None)

    @property
    def patient(self) -> bool:
        """Whether the client was heard recently enough to send it marks and presence."""
        return self._unheard < UNHEARD_BYTES

    @property
    def heavy(self) -> bool:
        """Whether so many bytes wait that nothing large is to be added."""
        return sum(map(len, self._encoded)) >= HEAVY_BYTES

    def heard(self) -> None:
        """The client said something."""
        self._unheard = 0

    def push(self, frame: Frame, *, bare: bool = False) -> None:
        """Add a frame."""
        self.push_encoded(self._codec.part(frame), bare=bare)

    def push_encoded(self, encoded: bytes, *, bare: bool = False) -> None:
        """Add a frame that is encoded already."""
        self._unheard += len(encoded)
        if bare:
            self._bare.append(len(self._encoded))
        self._encoded.append(encoded)

    def push_events(self, encoded: bytes) -> None:
        """Add an encoded `events` frame, which the window counts."""
        self._encoded.append(encoded)

    def push_marks(self, conversation: str, encoded: bytes) -> bool:
        """Add encoded marks, unless older ones of the conversation are held. Returns whether it did."""
        if conversation in self._held or conversation in self._summaries:
            return False
        self.push_encoded(encoded)
        return True

    def hold_marks(self, conversation: str, marks: list[DeviceMark], encoded: bytes) -> None:
        """Keep marks for later: the newest of each device, or the newest (`encoded`) summary."""
        if not marks:
            self._summaries[conversation] = encoded
            return
        self._summaries.pop(conversation, None)  # from when it was large
        held = self._held.setdefault(conversation, {})
        held.update((mark.device, mark) for mark in marks)

    def release_marks(self, may: Callable[[str], bool]) -> None:
        """Add the marks that were held, of the conversations that `may` go on."""
        for conversation in [c for c in self._held if may(c)]:
            marks = list(self._held.pop(conversation).values())
            self.push(Receipts(conversation=conversation, marks=marks))
        for conversation in [c for c in self._summaries if may(c)]:
            self.push_encoded(self._summaries.pop(conversation))

    def push_presence(self, encoded: bytes, *, bare: bool = False) -> bool:
        """Add encoded presence, unless older presence is held. Returns whether it did."""
        if self._stale is not None:
            return False
        self.push_encoded(encoded, bare=bare)
        return True

    def hold_presence(self, users: Iterable[UserPresence], *, stale: bool) -> None:
        """Keep presence for later: the newest of each user, and whether it is stale now."""
        self._stale = stale
        self._present.update((entry.user, entry) for entry in users)

    def release_presence(self) -> None:
        """Add the presence that was held."""
        if self._stale is None:
            return
        users = list(self._present.values())
        for start in range(0, max(len(users), 1), MOST_USERS):
            self.push(Presence(users=users[start : start + MOST_USERS], stale=self._stale))
        self._present, self._stale = {}, None

    def forget(self, conversation: str) -> None:
        """Drop what is held of a conversation."""
        self._held.pop(conversation, None)
        self._summaries.pop(conversation, None)

    def discard(self) -> None:
        """Drop everything."""
        self._encoded.clear()
        self._bare.clear()
        self._held.clear()
        self._summaries.clear()
        self._present, self._stale = {}, None

    def take(self) -> str | bytes | None:
        """The next WebSocket message, or None. What is due leaves together."""
        encoded = self._encoded
        if not encoded:
            return None
        most = _fitting(encoded)
        self._encoded = encoded[most:]
        if self._bare:
            self._bare = [place - most for place in self._bare if place >= most]
        return self._codec.join(encoded[:most])

    def take_bare(self) -> str | bytes | None:
        """The same of the bare frames alone."""
        encoded = self._encoded
        most = _fitting([encoded[place] for place in self._bare])
        taken = set(self._bare[:most])
        self._encoded = [part for place, part in enumerate(encoded) if place not in taken]
        self._bare = [place - most for place in self._bare[most:]]
        return self._codec.join([encoded[place] for place in sorted(taken)]) if taken else None


def _fitting(parts: Sequence[bytes]) -> int:
    """How many of the parts, from the first on, make one WebSocket message."""
    size = 0
    for index, part in enumerate(parts):
        size += len(part)
        if index and size > MESSAGE_BYTES:
            return index
    return len(parts)
