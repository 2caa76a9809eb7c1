"""Changes of one conversation on their way to many sessions: encoded once per codec, then shared.

A batch covers (since, upto]; `fences` are the stays that end inside it. Slices exist for the few
sessions that must not see all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from messaging.protocol.frames import Events, Message

if TYPE_CHECKING:
    from messaging.protocol.codec import Codec

_encode_messages = msgspec.json.Encoder().encode
_decode_messages = msgspec.json.Decoder(list[Message]).decode


class Fence(NamedTuple):
    """The end of a user's stay: nothing of the conversation after `seq` reaches them."""

    user: str
    seq: int


class Batch:
    """Consecutive changes of a conversation. Treat as frozen.

    `count` is the number of messages, `oldest` the least `position` among them (an edit of an
    old message carries its old position). `cut` tells a page that more changes follow, `purged` up to
    which number changes may be missing from it, for they are gone for real.
    """

    __slots__ = (
        "_encoded",
        "_json",
        "_messages",
        "conversation",
        "count",
        "cut",
        "fences",
        "oldest",
        "purged",
        "since",
        "upto",
    )

    def __init__(
        self,
        *,
        conversation: str,
        since: int,
        upto: int,
        messages: Iterable[Message] | None = None,
        json: bytes | None = None,
        count: int = 0,
        oldest: int = 0,
        fences: tuple[Fence, ...] = (),
        cut: bool = False,
        purged: int = 0,
    ) -> None:
        self.conversation, self.since, self.upto = conversation, since, upto
        self.fences, self.cut, self.purged = fences, cut, purged
        self._json = json
        self._encoded: dict[bool, bytes] = {}
        self._messages: list[Message] | None = None
        self.count, self.oldest = count, oldest
        if messages is not None:
            self._messages = list(messages)
            self.count = len(self._messages)
            self.oldest = min((message.position for message in self._messages), default=upto)

    @property
    def messages(self) -> list[Message]:
        """The messages as values, decoded on first use."""
        if self._messages is None:
            self._messages = _decode_messages(self._json or b"[]")
        return self._messages

    @property
    def json(self) -> bytes:
        """The messages as a JSON array, encoded on first use."""
        if self._json is None:
            self._json = _encode_messages(self.messages)
        return self._json

    def encode(self, codec: Codec) -> bytes:
        """The `events` frame in `codec`; every session with the same codec shares one copy."""
        encoded = self._encoded.get(codec.binary)
        if encoded is None:
            encoded = self._encoded[codec.binary] = self._frame(codec)
        return encoded

    def _frame(self, codec: Codec) -> bytes:
        if not codec.binary:
            head = f'{{"type":"events","conversation":"{self.conversation}","since":{self.since},"upto":{self.upto}'
            return b'%b,"messages":%b}' % (head.encode(), self.json)
        return codec.part(
            Events(
                conversation=self.conversation,
                since=self.since,
                upto=self.upto,
                messages=self.messages,
            )
        )

    def after(self, seq: int) -> Batch:
        """The part above `seq`."""
        return self._slice(since=seq, upto=self.upto, keep=lambda message: message.seq > seq)

    def until(self, seq: int) -> Batch:
        """The part up to and including `seq`."""
        return self._slice(since=self.since, upto=seq, keep=lambda message: message.seq <= seq)

    def visible_from(self, position: int) -> Batch:
        """The same range without messages created before `position`."""
        return self._slice(
            since=self.since, upto=self.upto, keep=lambda message: message.position >= position
        )

    def _slice(self, *, since: int, upto: int, keep: Callable[[Message], bool]) -> Batch:
        return Batch(
            conversation=self.conversation,
            since=since,
            upto=upto,
            messages=filter(keep, self.messages),
            fences=tuple(fence for fence in self.fences if since < fence.seq <= upto),
            purged=self.purged,
        )
