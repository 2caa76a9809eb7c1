"""How a client ends that has no server, or no room: in one line, and with all that it stored before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from messaging.client import ApiError, Client, Store, StoreError
from messaging.client.store import Changes, Standing
from messaging.protocol import JSON
from messaging.protocol.client import acks
from messaging.protocol.client.happenings import Applied, Disconnected
from messaging.protocol.frames import Events, Message, Ok, Receipt, Reset, Window
from tests.unit.messaging.protocol.client.welcome import WELCOME

C = "0198f3a0-0000-7000-8000-00000000c001"
NOBODY = "http://127.0.0.1:9"  # the port of RFC 863, which nobody serves here
FULL = "can't be used as a store: database or disk is full; make room on its disk."


def fill(store: Store) -> None:
    """From now on the file can't grow."""
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")


async def why_not(url: str) -> str:
    """What the first attempt to connect tells the application."""
    async with Client(url, token="t") as client, asyncio.timeout(10):
        async for happening in client:
            if isinstance(happening, Disconnected):
                return happening.reason
    raise AssertionError("nothing was told")


@asynccontextmanager
async def web_server(answer: bytes) -> AsyncIterator[str]:
    """Something else that speaks HTTP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_full_disk_is_told_to_who_waits_and_takes_nothing_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be stored was not sent; what was stored before is sent after the next start."""
    path = tmp_path / "a.sqlite"
    async with Client(NOBODY, token="t", outbox=path) as client:
        client.send(C, "stored", client_id="k1")
    async with Client(NOBODY, token="t", outbox=path) as client:
        fill(client.store)
        with pytest.raises(StoreError, match=FULL):
            await client.send(C, "x" * 60_000, client_id="k2")
        with pytest.raises(StoreError, match=FULL):
            await client.send(C, "short", client_id="k3")
        with pytest.raises(StoreError, match=FULL):
            await client.settled()
    (line,) = (one for one in caplog.records if one.levelno >= logging.ERROR)
    assert (line.getMessage(), line.exc_info) == (f"The client stopped: {path} {FULL}", None)
    store = Store(path)
    assert [request.client_id for _, request in store.load().outbox] == ["k1"]
    store.close()


async def test_a_key_is_taken_until_its_answer_was_told() -> None:
    """Whoever awaited the first would wait for ever, and the second would get its answer."""
    client = Client(NOBODY, token="t")
    client.core.connect(0)
    client.core.opened(0)
    first = client.send(C, "once", client_id="k1")
    client._learn(client.core.received([WELCOME, Ok(client_id="k1", message="m1", seq=1)], 0))
    with pytest.raises(ValueError, match="make a new client_id"):
        client.send(C, "twice", client_id="k1")
    await client._flush()
    assert (await first).message == "m1"
    assert not client.core.outbox
    await client.close()


async def test_what_the_last_process_did_not_take_is_told_before_what_arrives_now(
    tmp_path: Path,
) -> None:
    """An application that begins to listen late must not miss it; nor does the end hide it."""
    store = Store(tmp_path / "a.sqlite")
    messages = [Message(id=f"m{n}", seq=n, position=n) for n in (1, 2, 3)]
    standing = Standing(conversation=C, cursor=2, read=0, left=None, unsettled=False)
    rows = [(C, message) for message in messages[:2]]
    store.write(Changes(started={C: 0}, standings=[standing], messages=rows))
    client = Client(NOBODY, token="t", outbox=store)
    client.core.connect(0)
    client.core.opened(0)
    events = Events(conversation=C, since=2, upto=3, messages=messages[2:])
    client._learn(client.core.received([WELCOME, events], 0))
    await client._flush()
    client._news.end()
    told = [happening async for happening in client]
    assert told[1:] == [Applied(conversation=C, messages=messages, upto=3)]
    await client.close()
    assert [happening async for happening in client] == []


async def test_what_was_gone_when_a_conversation_began_anew_outlives_the_process(
    tmp_path: Path,
) -> None:
    """Its next hello names it, or the conversation would begin anew once more."""
    path = tmp_path / "a.sqlite"
    client = Client(NOBODY, token="t", outbox=path)
    client.core.connect(0)
    client.core.opened(0)
    reset, events = Reset(conversation=C, purged=9), Events(conversation=C, since=0, upto=4)
    client._learn(client.core.received([WELCOME, reset, events], 0))
    await client._flush()
    await client.close()
    store = Store(path)
    saved = store.load()
    store.close()
    assert (saved.cursors, saved.purged) == ({C: 4}, {C: 9})


async def test_an_absent_server_is_named_to_the_application() -> None:
    """A client that was told a wrong address goes on trying: somebody has to see why."""
    assert await why_not(NOBODY) == (
        f"{NOBODY} can't be reached ([Errno 111] Connect call failed ('127.0.0.1', 9));"
        " is the server running?"
    )


async def test_an_address_of_something_else_is_named_to_the_application() -> None:
    """A web server that is none of ours answers, only not as it should."""
    async with web_server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
        with pytest.raises(ApiError, match=f"{url}/api/login answered Not Found; is it a Lockstep"):
            await Client.log_in(url, username="ann", password="lockstep")
        mend = "is it a Lockstep server, and is it up?"
        assert await why_not(url) == f"{url} answered HTTP 404 and no WebSocket; {mend}"


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that takes connections and says nothing; the event tells of the first."""
    came, over = asyncio.Event(), asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", came
        finally:
            over.set()


async def test_what_is_asked_while_a_server_does_not_answer_is_stored_at_once(
    tmp_path: Path,
) -> None:
    """Whoever is killed before the attempt has failed would lose it."""
    path = tmp_path / "a.sqlite"
    async with (
        silent_server() as (url, came),
        asyncio.timeout(3),
        Client(url, token="t", outbox=path) as client,
    ):
        await came.wait()
        client.send(C, "meanwhile", client_id="k1")
        while not (asked := (await client._stored(client.store.load)).outbox):
            pass
    assert [request.client_id for _, request in asked] == ["k1"]


async def test_a_client_closes_at_once_though_its_server_does_not_answer() -> None:
    """Nobody waits for an attempt that nobody wants."""
    async with silent_server() as (url, came), asyncio.timeout(3), Client(url, token="t"):
        await came.wait()


async def test_the_window_is_counted_in_bytes_as_the_server_counts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A character of most scripts is more than one: each windowful would wait for the timer."""
    monkeypatch.setattr(acks, "ACK_MS", 60_000.0)
    window = Window(messages=1_000, bytes=4_000)
    texts = [Message(id=f"m{n}", seq=n, position=n, body="я" * 1_200) for n in (1, 2)]
    marks: list[int] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(JSON.encode([structs.replace(WELCOME, window=window)]))
        for text in texts:
            events = Events(conversation=C, since=text.seq - 1, upto=text.seq, messages=[text])
            await socket.send(JSON.encode([events]))
            (receipt,) = JSON.decode_client(await socket.recv())
            assert isinstance(receipt, Receipt)
            marks.append(receipt.marks[0].delivered)
        await socket.close()

    async with serve(talk, "127.0.0.1", 0, subprotocols=[Subprotocol(JSON.subprotocol)]) as server:
        (port,) = {one.getsockname()[1] for one in server.sockets}
        url = f"http://127.0.0.1:{port}"
        async with Client(url, token="t", codec=JSON) as client, asyncio.timeout(5):
            async for happening in client:
                if isinstance(happening, Disconnected):
                    break
    assert marks == [1, 2]
