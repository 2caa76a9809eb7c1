"""A client's requests that are not settled: one lane per conversation, strictly in order.

Laws: a request stays until the server confirms it or refuses it for good. A refusal that may be
repeated holds its whole lane: nothing more of it goes out until the wait is over *and* everything
in flight of it was answered, so that a later request can't overtake a refused one. Then the lane starts
slowly (as TCP does, RFC 5681, section 3.1): one request, and when that is answered two, then four. A full
server to which everybody repeats all they have stays full.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal
from uuid import uuid4

from messaging.protocol.client.happenings import Confirmed, Declined, Request
from messaging.protocol.content import check_body, check_key
from messaging.protocol.frames import Delete, Edit, Error, Message, Ok, Send


class Entry:
    """A request, and whether it is on its way."""

    __slots__ = ("client_id", "conversation", "request", "sent", "size")

    def __init__(self, request: Request, conversation: str) -> None:
        self.request, self.conversation = request, conversation
        self.client_id = request.client_id
        self.size = len(getattr(request, "body", "").encode())
        self.sent = False

    def confirmed(self, message: str, place: Ok | Message) -> Confirmed:
        """What the application is told when the server took it."""
        return Confirmed(
            client_id=self.client_id,
            conversation=self.conversation,
            request=self.request,
            message=message,
            seq=place.seq or 0,
            position=place.position or 0,
            version=place.version or 1,
            created=place.created or 0,
        )

    def declined(self, error: Error) -> Declined:
        """What the application is told when the server refused it for good."""
        return Declined(
            client_id=self.client_id,
            conversation=self.conversation,
            request=self.request,
            error=error,
        )


class Outbox:
    """The unsettled requests of one device, and which of them may go."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.max_requests = self.max_bytes = 0
        self._waiting: deque[Entry] = deque()  # may hold entries that were settled or held since
        self._holds: dict[str, float] = {}  # conversation -> ms until which its lane waits
        self._refusals: dict[str, int] = {}  # of each lane in a row
        self._windows: dict[str, int] = {}  # of lanes that start slowly: how many go next
        self._under_way = Counter[str]()  # requests, by lane
        self._flying = self._flying_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.entries)

    def add(self, request: Request, conversation: str) -> Entry:
        """Take a request. Raises `Refused` if its key can't be stored, ValueError if it is taken."""
        check_key(request.client_id)
        if request.client_id in self.entries:
            raise ValueError(f"{request.client_id} is in the outbox already; make a new client_id")
        entry = self.entries[request.client_id] = Entry(request, conversation)
        self._waiting.append(entry)
        return entry

    def send(
        self,
        conversation: str,
        body: str,
        *,
        kind: Literal["text", "data"] = "text",
        reply_to: str | None = None,
        attachments: tuple[str, ...] = (),
        client_id: str | None = None,
    ) -> Entry:
        """Append a message. Raises `Refused` if it can't be stored, ValueError if the key is taken."""
        key = client_id or uuid4().hex
        check_body(body, kind)
        return self.add(
            Send(
                conversation=conversation,
                client_id=key,
                body=body,
                kind=kind,
                reply_to=reply_to,
                attachments=attachments,
            ),
            conversation,
        )

    def edit(
        self,
        conversation: str,
        message: str,
        *,
        base_version: int,
        body: str,
        client_id: str | None = None,
    ) -> Entry:
        """Replace a message's body if it is still at `base_version`. Raises as `send` does."""
        key = client_id or uuid4().hex
        check_body(body)
        return self.add(
            Edit(message=message, base_version=base_version, client_id=key, body=body),
            conversation,
        )

    def delete(
        self, conversation: str, message: str, *, base_version: int, client_id: str | None = None
    ) -> Entry:
        """Turn a message into a tombstone if it is still at `base_version`. Raises as `send` does."""
        key = client_id or uuid4().hex
        return self.add(
            Delete(message=message, base_version=base_version, client_id=key), conversation
        )

    def settle(self, client_id: str | None) -> Entry | None:
        """Forget a request that was answered for good; None if it is not (any more) in the outbox."""
        entry = self.entries.pop(client_id or "", None)
        if entry is not None:
            self._landed(entry)
            self._refusals.pop(entry.conversation, None)
            self._speed_up(entry.conversation)
        return entry

    def refusals(self, lane: str) -> int:
        """How often in a row the lane was held."""
        return self._refusals.get(lane, 0)

    def hold(self, client_id: str, *, until: float) -> None:
        """Keep the request, and its lane, back until this moment (ms)."""
        entry = self.entries[client_id]
        self._landed(entry)
        self._windows[entry.conversation] = 1
        if entry.conversation not in self._holds:
            self._holds[entry.conversation] = until
            self._refusals[entry.conversation] = self.refusals(entry.conversation) + 1

    def start(self, *, max_requests: int, max_bytes: int) -> None:
        """A new session is open, with these limits to what may be unanswered: everything is to be sent."""
        self.max_requests, self.max_bytes = max_requests, max_bytes
        self._holds.clear()
        self._refusals.clear()
        self._windows.clear()
        self._under_way.clear()
        self._flying = self._flying_bytes = 0
        for entry in self.entries.values():
            entry.sent = False
        self._waiting = deque(self.entries.values())

    def ready(self, now: float) -> list[Request]:
        """What goes out at this moment (ms), in order."""
        if self._holds:
            self._release(now)
        going: list[Request] = []
        room = {lane: 0 if self._under_way[lane] else n for lane, n in self._windows.items()}
        while self._waiting and self._has_room(self._waiting[0]):
            entry = self._waiting.popleft()
            if (
                entry.sent
                or entry.client_id not in self.entries
                or entry.conversation in self._holds
                or room.get(entry.conversation) == 0
            ):
                continue
            if entry.conversation in room:
                room[entry.conversation] -= 1
            entry.sent = True
            self._under_way[entry.conversation] += 1
            self._flying += 1
            self._flying_bytes += entry.size
            going.append(entry.request)
        return going

    @property
    def deadline(self) -> float | None:
        """The next moment (ms) at which a lane may go on by itself."""
        if not self._holds:
            return None
        ends = [until for lane, until in self._holds.items() if not self._under_way[lane]]
        return min(ends, default=None)

    def _has_room(self, entry: Entry) -> bool:
        if self._flying == 0:
            return True
        fits = self._flying_bytes + entry.size <= self.max_bytes
        return fits and self._flying < self.max_requests

    def _release(self, now: float) -> None:
        over = [
            lane
            for lane, until in self._holds.items()
            if until <= now and not self._under_way[lane]
        ]
        for lane in over:
            del self._holds[lane]
        if over:
            self._waiting = deque(self._unsent())

    def _unsent(self) -> Iterable[Entry]:
        return (entry for entry in self.entries.values() if not entry.sent)

    def _speed_up(self, lane: str) -> None:
        """Let twice as many go when all that went were answered."""
        if lane in self._windows and lane not in self._holds and not self._under_way[lane]:
            self._windows[lane] *= 2
            if self._windows[lane] >= self.max_requests:
                del self._windows[lane]
            self._waiting = deque(self._unsent())

    def _landed(self, entry: Entry) -> None:
        if entry.sent:
            entry.sent = False
            self._under_way[entry.conversation] -= 1
            self._flying -= 1
            self._flying_bytes -= entry.size
