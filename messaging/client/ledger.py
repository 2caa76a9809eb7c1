"""What came of the protocol's rules since the last write: rows for the store, happenings for the application."""

from __future__ import annotations

import msgspec

from messaging.client.store import Changes, Standing
from messaging.protocol import Client as Core
from messaging.protocol import Timeline
from messaging.protocol.client.happenings import (
    AnyHappening,
    Applied,
    Confirmed,
    Connected,
    Declined,
    Joined,
    LeftConversation,
    MarksMoved,
    Restarted,
)


class Ledger:
    """Collects until `take`, which is called without an await between it and what it goes with."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._changes = Changes()
        self._purged = dict(core.purged)
        self._touched: dict[str, None] = {}
        self._happened: list[AnyHappening] = []

    def asked(self, client_id: str) -> None:
        """A request entered the outbox."""
        entry = self._core.outbox.entries[client_id]
        self._changes.asked.append((entry.conversation, entry.request))

    def touched(self, conversation: str) -> None:
        """A conversation's cursor or marks moved."""
        self._touched[conversation] = None

    def taken(self, conversation: str, upto: int) -> None:
        """The application is done with everything up to `upto`."""
        self._changes.taken[conversation] = upto

    def learn(self, happened: list[AnyHappening]) -> None:
        """Take what the core told."""
        self._happened.extend(happened)
        for happening in happened:
            self._learn(happening)

    def _learn(self, it: AnyHappening) -> None:
        match it:
            case Applied(conversation=conversation, messages=messages):
                self.touched(conversation)
                self._changes.messages.extend((conversation, message) for message in messages)
            case (
                MarksMoved(conversation=conversation) | LeftConversation(conversation=conversation)
            ):
                self.touched(conversation)
            case Joined(conversation=conversation, since=since):
                self.touched(conversation)
                self._changes.started[conversation] = since
            case Restarted(conversation=conversation):
                self._restart(conversation)
            case Confirmed(client_id=client_id):
                self._changes.settled.append(client_id)
                self._show(it)
            case Declined(client_id=client_id):
                self._changes.settled.append(client_id)
            case Connected(device=device, user=user):
                self._changes.facts.update(device=device, user=user)
                self._changes.facts["epoch"] = self._core.epoch or ""

    def _restart(self, conversation: str) -> None:
        self.touched(conversation)
        changes = self._changes
        changes.messages = [row for row in changes.messages if row[0] != conversation]
        changes.taken.pop(conversation, None)
        changes.forgotten.append(conversation)

    def _show(self, confirmed: Confirmed) -> None:
        """The own message is in the device's copy as soon as the server has it."""
        shown = Timeline()
        shown.confirm(confirmed, device=self._core.device, user=self._core.user)
        self._changes.messages.extend((confirmed.conversation, one) for one in shown.ordered())

    def take(self) -> tuple[Changes, list[AnyHappening]]:
        """Everything since the last call."""
        core = self._core
        self._changes.standings = [
            Standing(
                conversation=conversation,
                cursor=core.cursors.get(conversation),
                read=core.reads.get(conversation, 0),
                left=core.left.get(conversation),
                unsettled=conversation in core.unsettled,
            )
            for conversation in self._touched
        ]
        if core.purged != self._purged:
            self._purged = dict(core.purged)
            self._changes.facts["purged"] = msgspec.json.encode(self._purged).decode()
        changes, happened = self._changes, self._happened
        self._changes, self._happened, self._touched = Changes(), [], {}
        return changes, happened
