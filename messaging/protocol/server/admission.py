"""Which requests of a session are taken: bounded in number and bytes, and sends in their order.

After a retryable refusal of a send the later ones to that conversation are refused alike, until the
refused `client_id` is sent again: otherwise a retry would overtake nothing, but be overtaken. Of several
refused it is the one sent first, whichever was refused first. Who goes on and on without it is sent away.
One that is stored all the same (its COMMIT was lost on the way) the client learns of from the feed, and
never sends again: nothing waits for it.
"""

from __future__ import annotations

from messaging.protocol.content import is_id
from messaging.protocol.errors import CloseCode, Refusal
from messaging.protocol.frames import Send
from messaging.protocol.server.actions import Identity, Write
from messaging.protocol.server.batch import Batch

MAX_REQUESTS = 256  # unanswered requests of one session
MAX_REQUEST_BYTES = 1_048_576  # of their bodies
ABUSE = 64  # bad or excessive frames, less half of one for every good frame, before the close
# What they weigh. One that only came too soon is a good frame, too, so a thousand of them are ABUSE: four times those that
# whoever keeps the limits has on the way when the first is refused.
BAD, GOOD, HASTY = 16, 8, 9
OVERLOADED_RECONNECT_MS = 5_000  # who asked for too much comes back later than others
# `after_refused` in one conversation before the close. Who keeps the limits has no more than
# MAX_REQUESTS on the way when the refusal comes, and sends nothing more before the refused one.
UNHEEDED = 4 * MAX_REQUESTS
# Conversations in which a refused send must come first, before the close: half a megabyte. Any id may be named.
MOST_BLOCKED = 4 * MAX_REQUESTS


class Admission:
    """The requests of one session that wait for their answer, and those that must come first."""

    __slots__ = (
        "_abuse",
        "_blocked",
        "_bytes",
        "_count",
        "_numbers",
        "_requests",
        "_shown",
        "_unheeded",
    )

    def __init__(self) -> None:
        self._requests = self._bytes = self._abuse = 0
        self._count = 0  # of sends
        self._numbers: dict[str, int] = {}  # client_id -> number, of those that are not answered
        # conversation -> number and client_id of the refused sends, of which the least must come first
        self._blocked: dict[str, set[tuple[int, str]]] = {}
        self._shown: set[str] = set()  # of those in `_numbers`: the feed has told the client
        self._unheeded: dict[str, int] = {}  # how many came to these conversations instead

    def admit(self, frame: Write, *, known: bool) -> Refusal | None:
        """Take a write, or say why not. `known` tells whether the session has a send's conversation."""
        refusal = self._reason_against(frame, known=known)
        if refusal is None:
            self._requests += 1
            self._bytes += _size(frame)
            if isinstance(frame, Send):
                self.forget(frame.conversation)
                self._count += 1
                self._numbers.setdefault(frame.client_id, self._count)
        elif refusal is Refusal.OVERLOADED:
            self.block(frame)
        return refusal

    def _reason_against(self, frame: Write, *, known: bool) -> Refusal | None:
        if isinstance(frame, Send):
            if not known and not is_id(frame.conversation):
                return Refusal.NO_SUCH_CONVERSATION
            blocked = self._blocked.get(frame.conversation)
            if blocked and min(blocked)[1] != frame.client_id:
                return Refusal.AFTER_REFUSED
            if self._crowded and not blocked:
                return Refusal.OVERLOADED
        about = frame.reply_to if isinstance(frame, Send) else frame.message
        if about is not None and not is_id(about):
            return Refusal.NO_SUCH_MESSAGE
        if self._requests >= MAX_REQUESTS or self._bytes + _size(frame) > MAX_REQUEST_BYTES:
            return Refusal.OVERLOADED
        return None

    def admit_bodiless(self) -> Refusal | None:
        """Take a request that is only counted, a `sync` or a `receipt` with a ref, or say why not."""
        if self._requests >= MAX_REQUESTS:
            return Refusal.OVERLOADED
        self._requests += 1
        return None

    def answered(self, frame: Write | None = None) -> None:
        """A request was answered: a write, or one without a body."""
        self._requests -= 1
        if frame is not None:
            self._bytes -= _size(frame)
            self._numbers.pop(frame.client_id, None)
            self._shown.discard(frame.client_id)

    def block(self, frame: Write) -> None:
        """This write was refused and may be repeated: nothing to its conversation may overtake it.

        One that was not taken at all may be refused before an earlier one that is still under way. To be
        called before `answered`.
        """
        if isinstance(frame, Send) and frame.client_id not in self._shown:
            number = self._numbers.get(frame.client_id, self._count + 1)
            self._blocked.setdefault(frame.conversation, set()).add((number, frame.client_id))

    def show(self, batch: Batch, identity: Identity | None) -> None:
        """The client, who is this, is told of these changes: it repeats nothing of its own among them."""
        if identity is None or not (self._numbers or self._blocked):
            return
        device = identity.device
        if device.encode() not in batch.json:
            return
        own = {one.client_id for one in batch.messages if one.device == device and one.client_id}
        self._shown |= own & self._numbers.keys()
        blocked = self._blocked.get(batch.conversation, set())
        blocked -= {one for one in blocked if one[1] in own}
        if not blocked:
            self.forget(batch.conversation)

    def forget(self, conversation: str) -> None:
        """The refused send came, or the session left the conversation: nothing waits for anything there."""
        if self._blocked.pop(conversation, None) is not None:
            self._unheeded.pop(conversation, None)

    def unheeded(self, conversation: str) -> CloseCode | None:
        """A send was refused as `after_refused`; the code to close with, once it was one too many."""
        count = self._unheeded[conversation] = self._unheeded.get(conversation, 0) + 1
        return CloseCode.OVERLOADED if count > UNHEEDED else None

    def behaved(self) -> None:
        """A good frame makes up for half a bad one."""
        if self._abuse:
            self._abuse = max(self._abuse - GOOD, 0)

    def misbehaved(
        self, code: CloseCode = CloseCode.ABUSE, *, hasty: bool = False
    ) -> CloseCode | None:
        """A bad, an excessive, or only a hasty frame; the code to close with, once it was one too many."""
        self._abuse += HASTY if hasty else BAD
        return code if self._abuse > ABUSE * BAD or self._crowded else None

    @property
    def _crowded(self) -> bool:
        """Whether so many conversations wait for a refused send that no more are kept in mind."""
        return len(self._blocked) >= MOST_BLOCKED


def _size(frame: Write) -> int:
    return len(getattr(frame, "body", ""))
