"""What a device shows of one conversation: each message in its newest state, by position.

The core keeps no messages; who wants them feeds a timeline with what `Applied` and `Confirmed` tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from messaging.protocol.client.happenings import Confirmed
from messaging.protocol.frames import Message, Send


class Timeline:
    """The messages of one conversation."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.messages = {message.id: message for message in messages}

    def apply(self, messages: Iterable[Message]) -> None:
        """Take changes; the feed wins over what was known at the same `seq`."""
        for message in messages:
            known = self.messages.get(message.id)
            if known is None or known.seq <= message.seq:
                self.messages[message.id] = message

    def confirm(self, it: Confirmed, *, device: str | None, user: str | None) -> None:
        """Show the own message that was just stored, before the feed brings it."""
        sent = it.request
        # A later version's body only the feed knows.
        if not isinstance(sent, Send) or it.version != 1 or it.message in self.messages:
            return
        self.messages[it.message] = Message(
            id=it.message,
            seq=it.seq,
            position=it.position,
            kind=sent.kind,
            body=sent.body,
            created=it.created,
            device=device,
            user=user,
            client_id=it.client_id,
            reply_to=sent.reply_to,
        )

    def ordered(self) -> list[Message]:
        """Screen order, tombstones included."""
        return sorted(self.messages.values(), key=lambda message: message.position)
