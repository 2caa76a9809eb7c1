"""The channel layer as a bus between processes: a hint that may be lost, late or doubled.

Group names and event formats are public; a plain Channels consumer that does `group_add` with
`conversation_group(id)` gets every batch as an event of type `lockstep.events`:
    {"type", "conversation", "since", "upto", "count", "oldest", "fences", "messages": JSON array, "origin", "epoch"}
and marks that moved as `lockstep.receipts`: {"type", "conversation", "marks": JSON array, "origin", "epoch"}.
Events of another epoch of the database are dropped: their numbers may be those of other changes.
Presence and typing are in `events`. What nobody else hears is withheld (`audience`): of a group that was
empty until now the first half a second may be missing. An event without messages says how far the conversation is.
Nothing here waits for Redis while a session or an answer waits for us.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import uuid
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Any

import msgspec
from channels.layers import get_channel_layer

from messaging import metrics
from messaging.hub.audience import Audience
from messaging.hub.events import PRESENCE, PRESENCE_GROUP, TYPING, Moment, TypingEvent, read
from messaging.hub.layer import PipelinedChannelLayer
from messaging.protocol.frames import DeviceMark
from messaging.protocol.server.batch import Batch, Fence

logger = logging.getLogger(__name__)

# What waits to be published; more is dropped, the reconciler of the others finds it.
QUEUE = 1_000  # events
QUEUE_BYTES = 16_777_216  # of their messages and marks: one batch may hold 1 MiB
# What goes in one round trip.
TOGETHER = 100  # events, or groups to enter
TOGETHER_BYTES = 1_048_576
CALL_S = 1.0
PULSE_S = 0.5
MISSED = 2  # pulses in a row before the bus counts as deaf

EVENTS, RECEIPTS, NONCE = "lockstep.events", "lockstep.receipts", "lockstep.nonce"

_encode = msgspec.json.Encoder().encode
_decode_marks = msgspec.json.Decoder(list[DeviceMark]).decode


def conversation_group(conversation: str) -> str:
    """The device group of a conversation on the channel layer."""
    return f"conversation.{conversation}"


class Bus:
    """This process's one channel. Callbacks are called in the event loop and must not wait.

    `on_doubt`: hints can't be relied on, look at the database.
    """

    def __init__(
        self,
        *,
        on_batch: Callable[[Batch], None],
        on_marks: Callable[[str, list[DeviceMark]], None],
        on_joined: Callable[[str], None],
        on_doubt: Callable[[], None],
        on_return: Callable[[], None],
        on_moment: Callable[[Moment], None] = lambda _: None,
        epoch: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.deaf = True
        self.lag_s = 0.0  # from sending the last pulse to hearing it
        self._origin = uuid.uuid4().hex
        self._layer: Any = get_channel_layer()
        self._channel = ""
        self._audience = Audience()
        self._opening = asyncio.Lock()
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(QUEUE)
        self._queued_bytes = 0
        # Groups to be in, groups that we may be in, those of them where a call has failed since, and,
        # in order, those where a call is due.
        self._wanted: set[str] = set()
        self._entered: set[str] = set()
        self._unsure: set[str] = set()
        self._due: dict[str, None] = {}
        self._anything_due = asyncio.Event()
        self._on_batch, self._on_marks = on_batch, on_marks
        self._on_joined, self._on_doubt, self._on_return = on_joined, on_doubt, on_return
        self._on_moment = on_moment
        self._epoch = epoch
        self._heard = self._sent = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the channel and start listening, publishing and the pulse."""
        work = (self._receive(), self._publish(), self._follow(), self._pulse())
        self._tasks = [asyncio.create_task(w) for w in work]

    async def close(self) -> None:
        """Stop; what still waits to be published is dropped."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def queued(self) -> int:
        """How many events wait to be published."""
        return self._queue.qsize()

    def join(self, conversation: str) -> None:
        """Subscribe to a conversation's group, or PRESENCE_GROUP; `on_joined` follows once a nonce sent to it came back."""
        self._wanted.add(conversation)
        self._due[conversation] = None
        self._anything_due.set()

    def leave(self, conversation: str) -> None:
        """Unsubscribe. A group that was never entered needs no call, so churn leaves nothing behind."""
        self._wanted.discard(conversation)
        self._audience.left(_group(conversation))
        if conversation in self._entered:
            self._due[conversation] = None
            self._anything_due.set()
        else:
            self._due.pop(conversation, None)

    def publish_batch(self, batch: Batch) -> None:
        """Hint to the other processes that a conversation has changes."""
        if self._is_lacking(batch.conversation, batch.upto):
            return
        event = {
            "type": EVENTS,
            "conversation": batch.conversation,
            "since": batch.since,
            "upto": batch.upto,
            "count": batch.count,
            "oldest": batch.oldest,
            "fences": [list(fence) for fence in batch.fences],
            "messages": batch.json.decode(),
            "origin": self._origin,
            "epoch": self._epoch(),
        }
        self._put(event)

    def publish_marks(self, conversation: str, marks: list[DeviceMark]) -> None:
        """Hint to the other processes that marks moved."""
        if self._is_lacking(conversation):
            return
        event = {
            "type": RECEIPTS,
            "conversation": conversation,
            "marks": _encode(marks).decode(),
            "origin": self._origin,
            "epoch": self._epoch(),
        }
        self._put(event)

    def publish_moment(self, moment: Moment) -> None:
        """Tell the other processes of presence or typing."""
        if isinstance(moment, TypingEvent) and self._is_lacking(moment.conversation):
            return
        self._put({**msgspec.to_builtins(moment), "origin": self._origin})

    def _is_lacking(self, conversation: str, upto: int = 0) -> bool:
        """Whether nobody but this bus hears the conversation's group. Deaf, it can't know."""
        group = conversation_group(conversation)
        lacking = not self.deaf and self._audience.lacks(group, upto)
        return lacking and self._layer.is_alone(group, self._channel)

    def _put(self, event: dict[str, Any]) -> None:
        if self._queue.full() or self._queued_bytes >= QUEUE_BYTES:
            metrics.bus_dropped.inc()
        else:
            self._queued_bytes += _size(event)
            self._queue.put_nowait(event)

    async def _publish(self) -> None:
        """Send what waits, all that fits into one round trip, then what came meanwhile."""
        while True:
            events = [await self._queue.get()]
            size = _size(events[0])
            while len(events) < TOGETHER and size < TOGETHER_BYTES and not self._queue.empty():
                events.append(self._queue.get_nowait())
                size += _size(events[-1])
            try:
                async with asyncio.timeout(CALL_S):
                    await self._send([(_group_of(event), event) for event in events])
            except Exception as error:
                metrics.bus_dropped.inc(len(events))
                logger.debug("the bus did not take %d events: %s", len(events), error)
            finally:
                self._queued_bytes -= size

    async def _send(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """At once if the layer can; any other layer takes them one by one."""
        if isinstance(self._layer, PipelinedChannelLayer):
            since = self._audience.now()
            for group, heard in (await self._layer.group_send_all(events)).items():
                self._audience.counted(group, heard, since=since)
        else:
            for group, event in events:
                await self._layer.group_send(group, event)

    async def _enter(self, groups: list[str], channel: str) -> None:
        """At once if the layer can; any other layer takes them one by one."""
        if isinstance(self._layer, PipelinedChannelLayer):
            await self._layer.group_add_all(groups, channel)
        else:
            for group in groups:
                await self._layer.group_add(group, channel)

    async def _follow(self) -> None:
        """Enter and leave groups until these are the wanted ones, many at a time; what failed comes again."""
        channel = await self._ensure_channel()
        while True:
            await self._anything_due.wait()
            if not self._due:
                self._anything_due.clear()
                continue
            due = list(islice(self._due, TOGETHER))
            for conversation in due:
                del self._due[conversation]
            try:
                async with asyncio.timeout(CALL_S):
                    await self._call(due, channel)
            except Exception as error:
                logger.debug("groups of the bus could not be joined or left: %s", error)
                self._unsure.update(due)
                self._due |= dict.fromkeys(self._entered.intersection(due))
                await asyncio.sleep(PULSE_S)

    async def _call(self, conversations: list[str], channel: str) -> None:
        """Bring groups to the wanted state; until a leave has succeeded we may be in it."""
        wanted = [conversation for conversation in conversations if conversation in self._wanted]
        left = [conversation for conversation in conversations if conversation not in self._wanted]
        self._entered.update(wanted)
        for conversation in self._unsure.intersection(conversations):
            await self._let_go(_group(conversation), channel)
            self._unsure.discard(conversation)
        await self._enter([_group(conversation) for conversation in wanted], channel)
        nonce = {"type": NONCE, "origin": self._origin}
        await self._send([(_group(c), {**nonce, "conversation": c}) for c in wanted])
        for conversation in left:
            await self._layer.group_discard(_group(conversation), channel)
            if conversation not in self._wanted:
                self._entered.discard(conversation)

    async def _let_go(self, group: str, channel: str) -> None:
        """Leave a group of which a call has failed, whatever is left of that call.

        The layer forgets a group before it has left it, and notes it only after it has entered: it
        would neither leave it any more nor hear it again. What it enters anew it can leave.
        """
        await self._layer.group_add(group, channel)
        await self._layer.group_discard(group, channel)

    async def _ensure_channel(self) -> str:
        async with self._opening:
            while not self._channel:
                try:
                    async with asyncio.timeout(CALL_S):
                        self._channel = await self._layer.new_channel()
                except Exception as error:
                    said = "the bus can't be reached, changes come from the database: %s"
                    logger.warning(said, str(error) or "no answer")
                    await asyncio.sleep(PULSE_S)
        return self._channel

    async def _receive(self) -> None:
        channel = await self._ensure_channel()
        while True:
            try:
                event = await self._layer.receive(channel)
            except (ValueError, TypeError) as error:  # taken from the queue, but no MessagePack
                logger.warning("an event of the bus can't be read: %s", error)
                continue
            except Exception:
                logger.warning("the bus can't be heard", exc_info=True)
                await asyncio.sleep(PULSE_S)
                continue
            try:
                self._handle(event)
            except Exception:  # whoever may publish to a public group may publish nonsense
                logger.warning("an event of the bus was lost", exc_info=True)

    def _handle(self, event: dict[str, Any]) -> None:
        if event["type"] == NONCE:
            if event["origin"] == self._origin:
                self._hear(event.get("conversation"))
            else:
                self._tell(event["conversation"])
        elif event["origin"] == self._origin:
            return
        elif self._is_of_another_epoch(event):
            self._on_doubt()
        elif event["type"] == EVENTS:
            self._on_batch(
                Batch(
                    conversation=event["conversation"],
                    since=event["since"],
                    upto=event["upto"],
                    json=event["messages"].encode(),
                    count=event["count"],
                    oldest=event["oldest"],
                    fences=tuple(Fence(*fence) for fence in event["fences"]),
                )
            )
        elif event["type"] == RECEIPTS:
            self._on_marks(event["conversation"], _decode_marks(event["marks"]))
        elif event["type"] in (PRESENCE, TYPING):
            self._on_moment(read(event))

    def _is_of_another_epoch(self, event: dict[str, Any]) -> bool:
        """Whether it certainly is: a process that has not read its epoch yet tells none, nor does one of before."""
        ours, theirs = self._epoch(), event.get("epoch")
        return None not in (ours, theirs) and ours != theirs

    def _hear(self, conversation: str | None) -> None:
        if conversation is not None:
            if conversation in self._wanted:
                self._audience.entered(_group(conversation))
            self._on_joined(conversation)
            return
        self._heard = monotonic()
        self.lag_s = self._heard - self._sent
        if self.deaf:
            self.deaf = False
            self._on_return()

    def _tell(self, conversation: str) -> None:
        """Another hub has entered, and has read the database perhaps before our last change: it is to look again."""
        if upto := self._audience.came(_group(conversation)):
            self.publish_batch(
                Batch(
                    conversation=conversation,
                    since=upto,
                    upto=upto,
                    json=b"[]",
                    count=0,
                    oldest=upto,
                )
            )

    async def _pulse(self) -> None:
        channel = await self._ensure_channel()
        while True:
            self._sent = monotonic()
            try:
                async with asyncio.timeout(CALL_S):
                    await self._layer.send(channel, {"type": NONCE, "origin": self._origin})
            except Exception as error:
                logger.debug("no pulse: %s", error)
            await asyncio.sleep(PULSE_S)
            if not self.deaf and monotonic() - self._heard > MISSED * PULSE_S:
                self.deaf = True
                logger.warning(
                    "the bus is deaf; changes of other processes come from the database meanwhile"
                )
                self._on_doubt()


def _group(joined: str) -> str:
    return PRESENCE_GROUP if joined == PRESENCE_GROUP else conversation_group(joined)


def _group_of(event: dict[str, Any]) -> str:
    return _group(event.get("conversation", PRESENCE_GROUP))


def _size(event: dict[str, Any]) -> int:
    """What an event takes in memory, in bytes: one emoji makes four of each character."""
    if event["type"] == PRESENCE:
        return sum(map(sys.getsizeof, event["users"]))
    return sys.getsizeof(event.get("messages") or event.get("marks") or "")
