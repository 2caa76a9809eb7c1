"""One device on the network: pumps the protocol's rules between a WebSocket, the clock and a store.

Laws: what the application asks is stored before it is sent; what the server sends is stored before it
is acknowledged and before the application sees it. Nothing here decides: see `messaging.protocol.client.client`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from messaging.client import dialing
from messaging.client.handle import ClosedError, Handle, Pending, RequestRefused
from messaging.client.leaving import Leaving
from messaging.client.ledger import Ledger
from messaging.client.news import News
from messaging.client.rest import Rest
from messaging.client.store import Store, StoreError
from messaging.protocol import LOST, MSGPACK, Codec, FrameError, LockstepError, Phase
from messaging.protocol import Client as Core
from messaging.protocol.client.happenings import (
    AnyHappening,
    Applied,
    Confirmed,
    Declined,
    PresenceAnswered,
    Restarted,
)
from messaging.protocol.client.outbox import Entry
from messaging.protocol.client.patience import Patience
from messaging.protocol.frames import Attachment, Frame, Here, Message, UserPresence

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Client:
    """A device of a user. Use it as `async with`; iterate it for what happens, from one place."""

    def __init__(
        self,
        url: str,
        *,
        token: str,
        outbox: str | Path | Store | None = None,
        codec: Codec = MSGPACK,
        patience: Patience | None = None,
    ) -> None:
        """Make a client of the server at `url`. `outbox` is a file, or None to keep everything in memory.

        `patience` says how soon a connection that died without a word is given up.
        """
        self.url, self.token, self.codec = url, token, codec
        self.store = outbox if isinstance(outbox, Store) else Store(outbox)
        self.rest = Rest.of_device(url, token)
        self.core = Core(saved=self.store.load(), patience=patience)
        self._ledger = Ledger(self.core)
        self._handles: dict[str, Handle] = {}
        self._calls: dict[int, Pending[None]] = {}  # of presence
        self._news = News(untaken=self._untaken, taken=self._taken)
        self._wake, self._answer = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lockstep-store")
        self._task: asyncio.Task[None] | None = None
        self._closing = self._closed = False
        self._failure: StoreError | None = None  # the store took no more

    @classmethod
    async def log_in(
        cls,
        url: str,
        *,
        username: str,
        password: str,
        name: str = "Python",
        outbox: str | Path | None = None,
        codec: Codec = MSGPACK,
    ) -> Client:
        """Log in and register; the same outbox file is the same device. Raises `ApiError`, `StoreError`."""
        store = Store(outbox)
        try:
            rest = await Rest(url=url).log_in(username, password)
            token = await rest.register(installation=store.installation(), name=name)
        except BaseException:
            store.close()
            raise
        return cls(url, token=token, outbox=store, codec=codec)

    # What the application asks

    def send(
        self,
        conversation: str,
        body: str,
        *,
        kind: Literal["text", "data"] = "text",
        reply_to: str | None = None,
        attachments: Sequence[Attachment | str] = (),
        client_id: str | None = None,
    ) -> Handle:
        """Append a message, with files that `rest.upload` gave. Raises `Refused` or `FrameError` if it can't be stored, ValueError if the key is taken."""
        files = tuple(file if isinstance(file, str) else file.id for file in attachments)
        entry = self.core.send(
            conversation,
            body,
            kind=kind,
            reply_to=reply_to,
            attachments=files,
            client_id=client_id,
        )
        return self._asked(entry)

    def edit(self, conversation: str, message: str, *, base_version: int, body: str) -> Handle:
        """Replace a message's body if it is still at `base_version`."""
        entry = self.core.edit(conversation, message, base_version=base_version, body=body)
        return self._asked(entry)

    def delete(self, conversation: str, message: str, *, base_version: int) -> Handle:
        """Turn a message into a tombstone if it is still at `base_version`."""
        entry = self.core.delete(conversation, message, base_version=base_version)
        return self._asked(entry)

    def _asked(self, entry: Entry) -> Handle:
        """Keep the request; but not what no server and no store would read again."""
        (found,) = self.codec.decode_client(self.codec.encode([entry.request]))
        if isinstance(found, FrameError):
            self.core.outbox.settle(entry.client_id)
            raise found
        if entry.client_id in self._handles:
            self.core.outbox.settle(entry.client_id)
            raise ValueError(f"{entry.client_id} was answered just now; make a new client_id")
        self._ledger.asked(entry.client_id)
        handle = self._handles[entry.client_id] = Handle(entry.client_id)
        if self._closing:
            handle.settle(self._end)  # `close` still stores the request, if the store takes it
        self._wake.set()
        return handle

    def read(self, conversation: str, upto: int | None = None) -> None:
        """The user has seen everything up to the change `upto` (None: all that arrived)."""
        self.core.read(conversation, upto)
        self._ledger.touched(conversation)
        self._wake.set()

    @property
    def presence(self) -> Mapping[str, UserPresence]:
        """The newest that was told of each user; who is not in it is offline, as far as one can know."""
        return self.core.presence.others.users

    @property
    def stale(self) -> bool:
        """Whether `presence` may be wrong by now: there is no connection, or the server has no database."""
        return self.core.presence.others.stale

    def typists(self, conversation: str) -> list[str]:
        """The other users who are typing in a conversation."""
        return self.core.presence.typists.others(conversation)

    def set_presence(
        self,
        *,
        state: Here | None = None,
        text: str | None = None,
        until: int | None = None,
        invisible: bool | None = None,
    ) -> Pending[None]:
        """Say how the user is here: `state` of this device, `text` until a moment (ms), and whether others see it.

        None leaves it as it is. It need not be awaited, and outlives reconnects. Raises `Refused` for a text that can't be stored.
        """
        call = self.core.set_presence(state=state, text=text, until=until, invisible=invisible)
        return self._called(call)

    def watch(self, users: Iterable[str]) -> Pending[None]:
        """Be told of exactly these users, besides those whom the server shows anyway; also after a reconnect."""
        return self._called(self.core.watch(users))

    def typing(self, conversation: str, typing: bool = True) -> None:  # noqa: FBT001, FBT002  reads as it is said
        """The user pressed a key in a conversation, or gave the draft up. Call it for every key: few of them are sent."""
        self.core.typing(conversation, typing=typing)
        self._wake.set()

    def _called(self, call: int) -> Pending[None]:
        pending = self._calls[call] = Pending()
        if self._closing:
            pending.settle(self._end)
        self._wake.set()
        return pending

    async def messages(self, conversation: str, *, limit: int = 200) -> list[Message]:
        """This device's copy of the newest messages, in screen order, tombstones included."""
        return await self._stored(lambda: self.store.messages(conversation, limit=limit))

    async def settled(self) -> None:
        """Wait until the server has answered everything in the outbox. Raises `ClosedError`, `StoreError`."""
        while self.core.outbox:
            if self._closing:
                raise self._end
            self._answer.clear()
            await self._answer.wait()

    def __aiter__(self) -> AsyncIterator[AnyHappening]:
        """What happens. An `Applied` counts as taken when the next one is asked for, also across restarts."""
        return aiter(self._news)

    async def _untaken(self) -> list[Applied]:
        """What the store has for the application; once it is closed, that is told after the next start."""
        return [] if self._closed else await self._stored(self.store.untaken)

    def _taken(self, conversation: str, upto: int) -> None:
        self._ledger.taken(conversation, upto)
        self._wake.set()

    # Life

    async def __aenter__(self) -> Client:
        self.core.connect(_now())
        self._task = asyncio.create_task(self._run(), name="lockstep-client")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and the store. What is unsettled stays in the outbox. Raises `StoreError`."""
        self._closing = True
        self.core.disconnect()
        self._wake.set()
        self._news.end()
        if self._task is not None:
            with suppress(Exception):  # it was raised, or logged, by _ended
                await self._task
        try:
            if self._failure is None:  # or what is written now would miss what could not be
                await self._flush()
        finally:
            self._closed = True
            self._thread.shutdown()
            self.store.close()

    @property
    def _end(self) -> LockstepError:
        """Why nothing is answered any more."""
        return self._failure or ClosedError(self.core.reason)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The pump ended: nobody may wait for it any more."""
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, StoreError):
            self._failure = failure
            logger.error("The client stopped: %s", failure, extra={"action": "store_failed"})
        elif failure is not None:
            logger.error("The client stopped on an error of its own.", exc_info=failure)
        unanswered: list[Pending[Any]] = [*self._handles.values(), *self._calls.values()]
        for pending in unanswered:
            pending.settle(self._end)
        self._closing = True
        self._news.end()
        self._answer.set()

    async def _run(self) -> None:
        """Connect, serve, wait, and again, until closed or told not to come back."""
        while self.core.phase not in (Phase.CLOSED, Phase.STOPPED):
            if self.core.phase is Phase.CONNECTING:
                await self._connection()
            self._wake.clear()
            await self._flush()
            if self.core.phase is Phase.WAITING:
                await self._pause()

    async def _connection(self) -> None:
        code, reason = LOST, ""
        try:
            socket = await self._opened()
            if socket is not None:
                try:
                    code = await self._serve(socket)
                finally:
                    await dialing.hang_up(socket)
        except dialing.FAILURES as error:
            code, reason = dialing.told(self.url, error)
        self._learn(self.core.closed(code, _now(), reason=reason))

    async def _opened(self) -> ClientConnection | None:
        """Open a socket; None if nobody wants it any more. What is asked meanwhile is stored at once."""
        dialed = dialing.dial(self.url, token=self.token, codec=self.codec)
        opening = asyncio.ensure_future(dialed)
        opening.add_done_callback(lambda _: self._wake.set())
        try:
            while not opening.done() and self.core.phase is Phase.CONNECTING:
                self._wake.clear()
                await self._flush()
                await self._pause()
            return opening.result() if opening.done() else None
        finally:
            opening.cancel()

    async def _serve(self, socket: ClientConnection) -> int:
        """Pump one connection. Returns its close code."""
        self.core.opened(_now())
        leaving = Leaving(self.codec)
        writer = asyncio.create_task(leaving.send(socket))
        reader = asyncio.create_task(self._read(socket))
        reader.add_done_callback(lambda _: self._wake.set())
        try:
            while not reader.done() and self.core.phase in (Phase.GREETING, Phase.OPEN):
                self._wake.clear()
                leaving.put(await self._flush())
                await self._pause()
        finally:
            writer.cancel()
            reader.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await reader
        return socket.close_code or LOST

    async def _read(self, socket: ClientConnection) -> None:
        while True:
            data = await socket.recv(decode=False)  # bytes: so the server counts the window
            frames = self.codec.decode_server(data)
            self._learn(self.core.received(frames, _now(), size=len(data)))
            self._wake.set()

    async def _pause(self) -> None:
        """Sleep until something wakes us or the core's deadline is there."""
        deadline = self.core.deadline
        timeout = None if deadline is None else max(0.0, deadline - _now()) / 1000
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), timeout)

    async def _flush(self) -> list[Frame]:
        """Store what changed, then tell it. Returns what is due, which may go now: all of one moment."""
        frames = self.core.due(_now())
        self._learn(self.core.happened())
        changes, happened = self._ledger.take()
        if changes:
            await self._stored(lambda: self.store.write(changes))
        self._tell(happened)
        return frames

    def _learn(self, happened: list[AnyHappening]) -> None:
        self._ledger.learn(happened)
        for happening in happened:
            if isinstance(happening, Restarted):
                self._news.restart(happening.conversation)

    def _tell(self, happened: list[AnyHappening]) -> None:
        for happening in happened:
            if isinstance(happening, (Confirmed, Declined)):
                self._settle(happening)
            elif isinstance(happening, PresenceAnswered):
                self._settle_calls(happening)
        self._news.tell(happened)

    def _settle(self, answer: Confirmed | Declined) -> None:
        self._answer.set()
        handle = self._handles.pop(answer.client_id, None)
        if handle is not None:
            handle.settle(answer if isinstance(answer, Confirmed) else RequestRefused(answer.error))

    def _settle_calls(self, answer: PresenceAnswered) -> None:
        outcome = None if answer.error is None else RequestRefused(answer.error)
        for call in answer.calls:
            self._calls.pop(call).settle(outcome)

    async def _stored(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _now() -> float:
    return monotonic() * 1000
