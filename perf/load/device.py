"""One virtual device: the real client's rules (`messaging.protocol.client.client`) on a socket.

It keeps no messages: what it saw goes to the history, what happens to it to the `Observer`. Like
any client it resumes, acknowledges at its pace, repeats what was refused, and comes back when the
connection is lost. All moments are seconds of `clock`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from messaging.protocol import frames
from messaging.protocol.client.client import Client, Phase
from messaging.protocol.client.happenings import Applied, Confirmed
from messaging.protocol.client.saved import Saved
from perf.history.testimony import Testimony, clock
from perf.load import wire
from perf.load.line import CONNECT_S, FAILURES, LOST, Line
from perf.load.observer import Sent
from perf.load.requests import Requests
from perf.load.surroundings import Surroundings
from perf.rig.accounts import Account

NORMAL = 1000  # the close code of a client that leaves


class ConnectFailed(Exception):
    """A device could not open its session; the text says why."""


class Device:
    """One device of an account, for as many connections as it takes."""

    def __init__(
        self,
        account: Account,
        around: Surroundings,
        testimony: Testimony,
        *,
        starts: Mapping[str, int],
        source: str | None = None,
    ) -> None:
        self.account, self.number = account, testimony.number
        self.client = Client(token=account.token, saved=Saved(cursors=dict(starts)))
        self.pongs = self.sessions = 0
        self.bytes_received = 0  # of WebSocket messages, without their few bytes of header
        self.repeats = 0  # answers to what had been answered
        self.greeted = 0.0  # when it said hello
        self.since = 0.0  # when the session was welcomed
        self.cuts, self.away = 0, True  # how often the rig took it away, and whether it is
        self._around, self._testimony, self._source = around, testimony, source
        self._requests = Requests(self, testimony, around)
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._opening: Line | None = None  # the newest, open by now or not
        self._hello: dict[str, int] = {}
        self._welcomed: asyncio.Future[float] | None = None
        self._reaching: tuple[str, int, asyncio.Future[float]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None

    # What the rig asks for

    async def connect(self) -> float:
        """Open the session, hello included; return how many seconds it took. Raises ConnectFailed."""
        begun = clock()
        self.client.connect(begun * 1000)
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._dial() - begun
        except FAILURES as error:
            self.leave()
            raise ConnectFailed(str(error) or f"no welcome within {CONNECT_S:.0f} s") from None

    def come(self) -> None:
        """Connect, and try again by the client's own rules for as long as that fails; `leave` ends it."""
        self.client.connect(clock() * 1000)
        self._time()

    def send(
        self,
        conversation: str,
        body: str,
        *,
        intended: float | None = None,
        reply_to: str | None = None,
        attachments: tuple[str, ...] = (),
    ) -> Sent:
        """Queue a message; it leaves with the next `flush`, or with the answer to what was just read."""
        key = self._requests.key()
        entry = self.client.send(
            conversation, body, client_id=key, reply_to=reply_to, attachments=attachments
        )
        return self._requests.begin(entry.request, conversation, intended=intended)

    def edit(self, sent: Sent, body: str, *, intended: float | None = None) -> Sent:
        """Queue an edit of a message of ours that is stored."""
        entry = self.client.edit(
            sent.conversation,
            sent.message or "",
            base_version=sent.version,
            body=body,
            client_id=self._requests.key(),
        )
        return self._requests.begin(entry.request, sent.conversation, intended=intended)

    def delete(self, sent: Sent, *, intended: float | None = None) -> Sent:
        """Queue the deletion of a message of ours that is stored."""
        entry = self.client.delete(
            sent.conversation,
            sent.message or "",
            base_version=sent.version,
            client_id=self._requests.key(),
        )
        return self._requests.begin(entry.request, sent.conversation, intended=intended)

    def read(self, conversation: str, upto: int | None = None) -> None:
        """Mark what has arrived as read, all of it or up to a change; the mark leaves with the next `flush`."""
        self.client.read(conversation, upto)

    def be(
        self,
        state: frames.Here | None = None,
        *,
        text: str | None = None,
        invisible: bool | None = None,
    ) -> float:
        """Say how the user is here; return the moment."""
        self.client.set_presence(state=state, text=text, invisible=invisible)
        now = clock()
        self.flush()
        return now

    def type(self, conversation: str) -> None:
        """The user types; it is said with the next `flush`, if the client's rules want it said again."""
        self.client.typing(conversation)

    def flush(self) -> None:
        """Write whatever is due as one WebSocket message, and come back when more will be."""
        line = self._line
        if line is None:
            return
        now = clock()
        going = self.client.due(now * 1000)
        if self.client.phase not in (Phase.GREETING, Phase.OPEN):
            self._give_up(now)
            return
        if going:
            self._note(going, now)
            data = wire.encode(going)
            for _ in range(self._around.copies):
                line.send(data)
        self._set_timer()

    def ping(self) -> None:
        """Ask for a pong; `pongs` counts the answers."""
        if self._line is not None:
            self._line.send(wire.encode([frames.Ping()]))

    async def reach(self, conversation: str, seq: int) -> float:
        """Wait until the cursor is at least `seq`; return that moment."""
        if self.client.cursors.get(conversation, 0) >= seq:
            return clock()
        future: asyncio.Future[float] = self._loop.create_future()
        self._reaching = (conversation, seq, future)
        try:
            return await future
        finally:
            self._reaching = None  # also if nobody waits any more

    @property
    def pending(self) -> dict[str, Sent]:
        """Requests without an answer, by client_id."""
        return self._requests.pending

    @property
    def promised(self) -> dict[str, int]:
        """The last change by conversation that an `ok` told of."""
        return self._requests.promised

    @property
    def online(self) -> bool:
        """Whether a session is open."""
        return self._line is not None and self.client.phase is Phase.OPEN

    def leave(self) -> None:
        """Close the socket and stay away, until `connect`."""
        self.cuts, self.away = self.cuts + 1, True
        self.client.disconnect()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hang_up()
        now = clock()
        self._testimony.closed(NORMAL, now, by="rig")
        self._requests.disconnected(now)

    def drop(self) -> None:
        """Lose the connection, as in a tunnel; the rules bring the device back. Only if it is online."""
        if not self.online:
            return
        now = clock()
        self.cuts, self.away = self.cuts + 1, True
        self._hang_up()
        self.client.closed(LOST, now * 1000)
        self._testimony.closed(LOST, now, by="rig")
        self._requests.disconnected(now)
        self._set_timer()

    def stall(self, *, stalled: bool) -> None:
        """Read nothing from the socket, or read on."""
        if self._line is not None:
            self._line.stall(stalled=stalled)

    def testify(self) -> None:
        """Tell the history where the client believes to be."""
        self._testimony.ended(self.client.cursors, clock(), connected=self.online)

    # What the line says

    def on_open(self, line: Line) -> None:
        """Say hello, unless the line was given up meanwhile."""
        if line is not self._opening:
            line.close()
            return
        self._line = line
        self.sessions += 1
        self._hello = dict(self.client.cursors)
        self.greeted = now = clock()
        self._testimony.greeted(now)
        self.client.opened(now * 1000)
        self.flush()

    def on_message(self, line: Line, data: bytes, t: int) -> None:
        """Take one WebSocket message of the line that counts; it came at `t` (ns)."""
        if line is not self._line:
            return
        size = len(data)
        self.bytes_received += size
        now = t * 1e-9
        others: list[frames.ServerFrame] = []
        for received in wire.decode(data):
            if not isinstance(received, wire.RawEvents):
                others.append(received)
                continue
            if others:  # in order, but as few calls as can be: most are answers in a row
                self._take(others, now)
                others = []
            self._take_events(received, t, now, size)
            size = 0
        if others:
            self._take(others, now)
        self.flush()

    def on_end(self, line: Line, code: int) -> None:
        """The connection is gone: as a client does, come back unless told not to."""
        if line is not self._line:
            return
        self._line = None
        now = clock()
        self.client.closed(code, now * 1000)
        self._testimony.closed(code, now, by="server")
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_exception(OSError(f"closed before welcome: {self.client.reason}"))
        self._requests.disconnected(now)
        self._around.observer.closed(self, code)
        self._set_timer()

    def _take_events(self, frame: wire.RawEvents, t: int, now: float, size: int) -> None:
        known = self._around.pages.read(frame)
        self._testimony.delivered(known.number, t)
        decoded = frames.Events(
            conversation=frame.conversation,
            since=frame.since,
            upto=frame.upto,
            messages=known.messages,
            ref=frame.ref,
        )
        for happening in self.client.received((decoded,), now * 1000, size=size):
            if type(happening) is Applied:
                self._applied(happening, now)
            elif type(happening) is Confirmed:
                self._requests.shown(happening, self.sessions, now)

    def _applied(self, happening: Applied, now: float) -> None:
        if self._around.reads:
            self.client.read(happening.conversation)
        self._around.observer.delivered(self, happening.messages, now)
        if self._reaching is not None:
            conversation, seq, future = self._reaching
            if self.client.cursors.get(conversation, 0) >= seq:
                self._reaching = None
                future.set_result(now)

    def _take(self, received: list[frames.ServerFrame], now: float) -> None:
        """Take frames that bring no changes; only those count for the window, so the size is not told."""
        happenings = self.client.received(received, now * 1000)
        for frame in received:
            match frame:
                case frames.Ok():
                    self._requests.acked(frame, now)
                case frames.Receipts():
                    self._testimony.seen(frame, now)
                    self._around.observer.marked(self, frame, now)
                case frames.Welcome():
                    self._adopt(frame, now)
                case frames.Error():
                    self._requests.refused(frame, happenings, now)
                case frames.Presence():
                    self._testimony.shown(frame, now)
                    self._around.observer.shown(self, frame, now)
                case frames.Typed():
                    self._around.observer.typed(self, frame, now)
                case frames.Pong():
                    self.pongs += 1
                case frames.Conversation() | frames.Left() | frames.Reset():
                    self._testimony.told(frame, now)

    def _adopt(self, frame: frames.Welcome, now: float) -> None:
        self.since, self.away = now, False
        self._testimony.opened(frame, self._hello, now)
        if self._welcomed is not None and not self._welcomed.done():
            self._welcomed.set_result(now)

    def _note(self, going: Sequence[frames.Frame], now: float) -> None:
        """Remember what goes out on this connection."""
        for frame in going:
            if isinstance(frame, frames.Receipt):
                self._testimony.marked(frame, now)
            elif isinstance(frame, (frames.Send, frames.Edit, frames.Delete)):
                self._requests.went(frame, self.sessions)

    # Connections and time

    async def _dial(self) -> float:
        self._welcomed = self._loop.create_future()
        self._opening = Line(self)
        await self._opening.open(self._around.url, source=self._source)
        return await self._welcomed

    async def _dial_again(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._dial()
        except FAILURES:
            self._hang_up()
            now = clock()
            self.client.closed(LOST, now * 1000)
            self._testimony.closed(LOST, now, by="rig")
            self._set_timer()

    def _hang_up(self) -> None:
        """Close what is open, and give up what is being opened."""
        lines, self._line, self._opening = {self._line, self._opening}, None, None
        for line in lines:
            if line is not None:
                line.close()
        dialling, self._dialling = self._dialling, None
        if dialling is not None and dialling is not asyncio.current_task():
            dialling.cancel()

    def _give_up(self, now: float) -> None:
        """The rules call the connection dead: close what is left of it and come back."""
        self._hang_up()
        self._testimony.closed(LOST, now, by="server")
        self._requests.disconnected(now)
        self._around.observer.closed(self, LOST)
        self._set_timer()

    def _set_timer(self) -> None:
        """Have `_time` called at the client's deadline; an earlier call does no harm."""
        deadline = self.client.deadline
        if deadline is None:
            return
        wait = max(deadline / 1000 - clock(), 0.001)
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + wait:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(wait, self._time)

    def _time(self) -> None:
        self._timer = None
        if self._line is not None:
            self.flush()
            return
        self.client.due(clock() * 1000)
        if self.client.phase is not Phase.CONNECTING:
            self._hang_up()
            self._set_timer()
        elif self._dialling is None or self._dialling.done():
            self._dialling = self._loop.create_task(self._dial_again())
