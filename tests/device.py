"""A foreign client, written from the protocol page alone: JSON as plain dicts, the one rule, and a memory.

It holds the server to more than the rule asks: a server that keeps its promise never leaves a hole,
never repeats, and never sends a change that the cursor has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, Protocol

from tests import scene

Frame = dict[str, Any]


class Closed(Exception):
    """The socket is closed; `code` is None when it was cut."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Socket(Protocol):
    """A WebSocket connection of any kind."""

    async def send(self, data: str) -> None:
        """Send one message. Raises Closed."""

    async def receive(self) -> str:
        """The next message. Raises Closed."""

    async def cut(self) -> None:
        """End the connection without a word."""


class Device:
    """One device across connections: its cursors, what it was shown, what it heard and how it was closed."""

    def __init__(self, token: str, *, acks: bool = True) -> None:
        self.token, self.acks = token, acks
        self.cursors: dict[str, int] = {}
        self.purged: dict[str, int] = {}  # what was gone when a conversation started anew
        self.seen: dict[str, list[Frame]] = {}  # by conversation, every message as it came
        self.heard: list[Frame] = []
        self.welcome: Frame | None = None
        self.closed: Closed | None = None
        self.violations: list[str] = []
        self._socket: Socket | None = None
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, socket: Socket, *, hello: bool = True, **more: Any) -> Device:
        """Use this socket from now on, and say hello with the cursors unless told not to."""
        self._socket, self.closed, self.welcome = socket, None, None
        self._reader = asyncio.create_task(self._read(socket))
        if hello:
            said = {"token": self.token, "cursors": self.cursors, "purged": self.purged} | more
            await self.say({"type": "hello"} | {k: v for k, v in said.items() if v is not None})
            await scene.eventually(lambda: self.welcome or self.closed, what=lambda: "welcome")
        return self

    async def say(self, *frames: Frame) -> None:
        """Send frames in one WebSocket message."""
        await self.say_raw(json.dumps(frames[0] if len(frames) == 1 else frames))

    async def say_raw(self, data: str) -> None:
        assert self._socket is not None
        with contextlib.suppress(Closed):
            await self._socket.send(data)

    async def ask(self, **frame: Any) -> Frame:
        """Send a request and return its answer, `ok`, `error` or `events`, by `ref`."""
        ref = f"r{len(self.heard)}-{frame.get('client_id', '')}"[:64]
        await self.say(frame | {"ref": ref})
        return await self.hear(lambda heard: heard.get("ref") == ref)

    async def write(self, room: str, body: str, **more: Any) -> Frame:
        """Send a message under its body as key, unless told otherwise."""
        frame = {"type": "send", "conversation": room, "client_id": body[:64], "body": body}
        return await self.ask(**frame | more)

    async def hear(self, wanted: Callable[[Frame], Any] | str, *, since: int = 0) -> Frame:
        """The first frame heard, from the given place on, that is wanted (by type or by predicate)."""

        def look() -> Frame | None:
            return next((f for f in self.heard[since:] if _is(f, wanted)), None)

        found = await scene.eventually(look, what=lambda: f"{wanted}; heard {self.heard[-5:]}")
        assert found is not None
        return found

    async def reaches(self, room: str, seq: int) -> None:
        """Until the cursor is there."""
        await scene.eventually(
            lambda: self.cursors.get(room, 0) >= seq,
            what=lambda: (
                f"{room} at {seq}, it is at {self.cursors.get(room)}; heard {self.heard[-3:]}"
            ),
        )

    async def ended(self) -> int | None:
        """Until the socket is closed; its code."""
        closed = await scene.eventually(
            lambda: self.closed, what=lambda: f"close; heard {self.heard[-3:]}"
        )
        assert closed is not None
        return closed.code

    async def cut(self) -> None:
        """Lose the connection."""
        if self._socket is not None:
            await self._socket.cut()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def bodies(self, room: str) -> list[str]:
        """What people said, as it came."""
        return [m.get("body", "") for m in self.seen.get(room, []) if m.get("kind") != "system"]

    def count(self, kind: str) -> int:
        """How many frames of a type were heard."""
        return sum(frame["type"] == kind for frame in self.heard)

    async def _read(self, socket: Socket) -> None:
        try:
            while True:
                data = json.loads(await socket.receive())
                acks = []
                for frame in data if isinstance(data, list) else [data]:
                    self._take(frame)
                    if frame["type"] == "events" and "ref" not in frame:
                        acks.append(frame["conversation"])
                if acks and self.acks:
                    marks = [{"conversation": c, "delivered": self.cursors[c]} for c in set(acks)]
                    await self.say({"type": "receipt", "marks": marks})
        except Closed as closed:
            self.closed = closed

    def _take(self, frame: Frame) -> None:
        self.heard.append(frame)
        kind = frame["type"]
        if kind == "welcome":
            self.welcome = frame
            for state in frame.get("conversations", []):
                self._start(state)
        elif kind == "conversation":
            self._start(frame)
        elif kind == "reset":
            self.cursors[frame["conversation"]] = 0
            self.purged[frame["conversation"]] = frame.get("purged", 0)
            self.seen.pop(frame["conversation"], None)
        elif kind == "events" and "ref" not in frame:
            self._apply(frame)

    def _start(self, state: Frame) -> None:
        room = state["conversation"]
        self.cursors[room] = max(self.cursors.get(room, 0), state["since"])

    def _apply(self, frame: Frame) -> None:
        room, since, upto = frame["conversation"], frame["since"], frame["upto"]
        cursor = self.cursors.get(room)
        if cursor is not None and since != cursor:
            self.violations.append(f"{room}: events ({since}, {upto}] at cursor {cursor}")
        numbers = [message["seq"] for message in frame.get("messages", [])]
        if numbers != sorted(set(numbers)) or not all(since < n <= upto for n in numbers):
            self.violations.append(f"{room}: numbers {numbers} in ({since}, {upto}]")
        self.seen.setdefault(room, []).extend(frame.get("messages", []))
        self.cursors[room] = upto


def _is(frame: Frame, wanted: Callable[[Frame], Any] | str) -> bool:
    return bool(frame["type"] == wanted if isinstance(wanted, str) else wanted(frame))


class InProcess:
    """A WebSocket without a network: an ASGI application on one side, a device on the other."""

    def __init__(self, application: Any, *, token: str | None = None, **scope: Any) -> None:
        headers = [(b"host", b"testserver")]
        if token is not None:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        headers += scope.pop("headers", [])
        self._scope = {"type": "websocket", "subprotocols": [], "headers": headers, **scope}
        self._to_app: asyncio.Queue[Frame] = asyncio.Queue()
        self._from_app: asyncio.Queue[Frame] = asyncio.Queue()
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.taking = asyncio.Event()  # cleared: the device takes nothing, `send` waits
        self.taking.set()
        self.stuck = False  # something is on its way and not taken
        self.fails: Exception | None = (
            None  # what `send` raises, as servers do when the client is gone
        )
        self.task = asyncio.create_task(application(self._scope, self._to_app.get, self._send))

    async def _send(self, event: Frame) -> None:
        if self.fails is not None:
            raise self.fails
        self.stuck = not self.taking.is_set()
        await self.taking.wait()
        self._from_app.put_nowait(event)

    async def send(self, data: str) -> None:
        """As a client does."""
        self._to_app.put_nowait({"type": "websocket.receive", "text": data})

    async def send_bytes(self, data: bytes) -> None:
        """As a client of a binary subprotocol does."""
        self._to_app.put_nowait({"type": "websocket.receive", "bytes": data})

    async def event(self) -> Frame:
        """The next ASGI event of the application. Raises Closed when it ended without one."""
        event = asyncio.ensure_future(self._from_app.get())
        try:
            await asyncio.wait({event, self.task}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            event.cancel()
            raise
        if not event.done() and self._from_app.empty():
            event.cancel()
            raise Closed(None)
        return await event

    async def receive(self) -> str:
        """The next text message."""
        while True:
            event = await self.event()
            if event["type"] == "websocket.close":
                raise Closed(event["code"])
            if event["type"] == "websocket.send":
                return str(event["text"])

    async def cut(self) -> None:
        """The client is gone."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.taking.set()
        await asyncio.wait({self.task})


async def greeted(socket: Socket, token: str | None, **more: Any) -> Device:
    """A device that has said hello on this socket; without a token here, the socket's header has it."""
    return await Device(token or "").connect(socket, token=token, **more)
