"""A device's requests that are under way: numbered, remembered, matched with their answers, and told of.

A request is answered by its `ok`. If the connection is lost before that came, or a refusal came that leaves
the outcome open, the feed may show that the request is stored: then no `ok` will follow, and that is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from messaging.protocol import frames
from messaging.protocol.client.happenings import AnyHappening, Confirmed, Declined, Request
from perf.history.testimony import WHAT, Testimony, clock
from perf.load.observer import Sent
from perf.load.surroundings import Surroundings

if TYPE_CHECKING:
    from perf.load.device import Device


NOWHERE = 0  # no connection: the request waits to go out again


class Requests:
    """Those of one device. `pending` has what is not answered, by client_id; `promised` the last change by
    conversation that an `ok` told of: the feed has to come that far.
    """

    def __init__(self, device: Device, testimony: Testimony, around: Surroundings) -> None:
        self.pending: dict[str, Sent] = {}
        self.promised: dict[str, int] = {}
        self._device, self._testimony, self._around = device, testimony, around
        self._prefix, self._made = f"{around.recorder.run}.{testimony.number}", 0

    def key(self) -> str:
        """A new client_id."""
        self._made += 1
        return f"{self._prefix}.{self._made}"

    def begin(self, request: Request, conversation: str, *, intended: float | None) -> Sent:
        """A request was queued."""
        now = clock()
        sent = Sent(
            what=WHAT[type(request)],
            conversation=conversation,
            client_id=request.client_id,
            intended=now if intended is None else intended,
            actual=now,
            of=None if isinstance(request, frames.Send) else request.message,
            base_version=0 if isinstance(request, frames.Send) else request.base_version,
        )
        self.pending[sent.client_id] = sent
        self._testimony.sent(request, conversation, now, intended=sent.intended)
        self._around.observer.sent(self._device, sent)
        return sent

    def went(self, request: Request, session: int) -> None:
        """A request goes out on this connection of the device."""
        sent = self.pending.get(request.client_id)
        if sent is not None:
            sent.session = session

    def acked(self, frame: frames.Ok, now: float) -> None:
        """An `ok` came."""
        if frame.client_id is None or frame.seq is None:
            return
        self._testimony.acked(frame, now)
        sent = self.pending.get(frame.client_id)
        if sent is None:
            self._device.repeats += 1
            return
        sent.message, sent.version, sent.seq = frame.message, frame.version or 0, frame.seq
        conversation = sent.conversation
        self.promised[conversation] = max(frame.seq, self.promised.get(conversation, 0))
        self._settle(sent, now)

    def shown(self, it: Confirmed, session: int, now: float) -> None:
        """The feed shows a message of ours; its `ok` follows if it is on its way on this connection."""
        sent = self.pending.get(it.client_id)
        if sent is not None:
            sent.message, sent.version, sent.seq = it.message, it.version, it.seq
            if sent.session != session:
                self._settle(sent, now)

    def disconnected(self, now: float) -> None:
        """The connection is gone, and with it any `ok` to what the feed has shown already."""
        for sent in [sent for sent in self.pending.values() if sent.seq]:
            self._settle(sent, now)

    def refused(self, frame: frames.Error, happenings: Sequence[AnyHappening], now: float) -> None:
        """An error came: about a request of ours, or about anything else."""
        final = any(
            isinstance(one, Declined) and one.client_id == frame.client_id for one in happenings
        )
        self._around.observer.refused(self._device, frame.code, final=final)
        sent = self.pending.get(frame.client_id or "")
        if sent is None:
            return
        self._testimony.refused(frame, now, final=final)
        if final:
            del self.pending[sent.client_id]
            self._around.observer.gave_up(self._device, sent, frame)
        elif sent.seq:  # the feed was faster, and nothing is sent again
            self._settle(sent, now)
        else:
            sent.session = NOWHERE

    def _settle(self, sent: Sent, now: float) -> None:
        del self.pending[sent.client_id]
        self._around.observer.acked(self._device, sent, now)
