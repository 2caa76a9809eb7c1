"""Daphne as we run it, with an application that floods a revoked device; this file is the server, too.

On other paths than `/ws/` it is quiet: it prints what is asked of it.
"""

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import django
import pytest
from channels.routing import ProtocolTypeRouter

from project.limits import FRAGMENTS

PATIENCE_S = 20.0
ROOT = Path(__file__).resolve().parents[3]
FLOOD = 64  # messages of 1 MiB: far more than the kernel takes for a client that does not read
MIB = 2**20
DRIP_S = 0.05  # between bytes
IN_A_HURRY_S = (
    1.5  # for a head, and for a body to go on; on a busy machine no other test may miss it
)
QUIET = b"GET /quiet HTTP/1.1\r\n"
LONG = b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
HANDSHAKE = (
    b"GET /ws/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Write more than is taken, revoke, and say so once the connection is gone."""
    if scope["type"] == "http":
        while (event := await receive()).get("more_body"):
            pass
        if event["type"] == "http.disconnect":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/late":
        try:
            while True:
                await send({"type": "websocket.send", "text": "still here"})
                await asyncio.sleep(0)
        except Exception as error:
            print("late:", isinstance(error, OSError), flush=True)
        return
    if scope["path"] == "/quiet":
        await receive()
        print(WORST[0], flush=True)
        return
    for _ in range(FLOOD):
        await send({"type": "websocket.send", "bytes": bytes(2**20)})
    await send({"type": "websocket.close", "code": 4501})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    print("gone", flush=True)


WORST = [0]  # bytes that waited for a client to read its pongs


def serve() -> None:
    """Run our Daphne with `application` on the listener given as standard input."""
    from project import daphne_server

    django.setup()
    from project import bodies, daphne_http

    bodies.SILENCE_S = daphne_http.HEAD_S = IN_A_HURRY_S  # type: ignore[attr-defined]
    bodies.DROP_S = 2 * IN_A_HURRY_S
    bounded = bodies.Bodies(application)

    class Patient(daphne_server.Protocol):
        """Autobahn's own patience, of a fraction of a second, is not what cuts the device off."""

        def onOpen(self) -> None:  # noqa: N802 - Autobahn's name
            super().onOpen()
            self.closeHandshakeTimeout = 10 * PATIENCE_S

        def onPing(self, payload: bytes) -> None:  # noqa: N802 - Autobahn's name
            super().onPing(payload)
            WORST[0] = max(WORST[0], self._unread())

    async def nothing() -> None:
        return None

    daphne_server.Protocol = Patient  # type: ignore[misc]
    sys.modules["project.asgi"] = types.SimpleNamespace(  # type: ignore[assignment]
        application=ProtocolTypeRouter({"http": bounded, "websocket": application})
    )
    daphne_server.run(
        socket.socket(fileno=0),
        warm_up=nothing,
        drain=nothing,
        ready=lambda: print("ready", flush=True),
        on_end=lambda loop, end: loop.add_signal_handler(15, end),
    )


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[tuple[str, int], subprocess.Popen[str]]]:
    """A server of the module's own, with small buffers in the kernel, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=listener.fileno(),
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "project.settings"},
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield listener.getsockname(), process
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            process.stdout.close()


@pytest.fixture
def client(
    server: tuple[tuple[str, int], subprocess.Popen[str]],
) -> Iterator[tuple[socket.socket, subprocess.Popen[str]]]:
    """A connection that has said nothing, and the server's process."""
    address, process = server
    with socket.create_connection(address) as made:
        made.settimeout(PATIENCE_S)
        yield made, process


@pytest.mark.slow
async def test_a_revoked_device_that_does_not_read_never_gets_what_was_still_daphne_s(
    client: tuple[socket.socket, subprocess.Popen[str]],
) -> None:
    made, server = client
    made.sendall(HANDSHAKE)
    assert server.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.to_thread(server.stdout.readline) == "gone\n"
    assert await asyncio.to_thread(everything, made) < FLOOD * 2**20


def frame(first: int, payload: bytes = b"") -> bytes:
    """A short frame of a client."""
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload


def shaken(client: socket.socket, head: bytes = QUIET) -> socket.socket:
    """The client, after a handshake on the quiet path, or another."""
    client.sendall(HANDSHAKE.replace(b"GET /ws/ HTTP/1.1\r\n", head))
    assert b"\r\n\r\n" in client.recv(4096)
    return client


@pytest.mark.slow
def test_who_sends_pings_and_reads_no_pongs_costs_daphne_no_memory(
    client: tuple[socket.socket, subprocess.Popen[str]],
) -> None:
    made, server = client
    pings = shaken(made)
    for _ in range(10):
        pings.sendall(frame(0x89, b"x" * 125) * 1_000)
    pings.sendall(frame(0x81, b"how much?"))
    assert server.stdout is not None
    assert 0 < int(server.stdout.readline()) < 100_000


@pytest.mark.slow
def test_daphne_refuses_a_message_of_fragments_without_end(
    client: tuple[socket.socket, subprocess.Popen[str]],
) -> None:
    made = shaken(client[0])
    made.sendall(frame(0x01) + frame(0x00) * FRAGMENTS)
    assert (1009).to_bytes(2, "big") in made.recv(4096)


@pytest.mark.slow
def test_whoever_writes_to_a_socket_that_daphne_itself_has_closed_hears_that_the_client_is_gone(
    client: tuple[socket.socket, subprocess.Popen[str]],
) -> None:
    """By an OSError, as ASGI has it: Autobahn's own error is a RuntimeError, as many mistakes are."""
    made, server = client
    shaken(made, b"GET /late HTTP/1.1\r\n").sendall(frame(0x01) + frame(0x00) * FRAGMENTS)
    assert server.stdout is not None
    while not (line := server.stdout.readline()).startswith("late:"):
        assert line  # of a test before
    assert line == "late: True\n"


def posted(path: str, length: int | None) -> bytes:
    """The head of a request whose body has so many bytes, or comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{size}\r\n\r\n".encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/api/login", 40 * MIB, 413),
        ("/api/files", 40 * MIB, 401),
        ("/api/files", 20 * MIB, 401),
        ("/api/login", None, 413),
    ],
)
def test_of_a_body_that_is_not_taken_daphne_keeps_next_to_nothing(
    client: tuple[socket.socket, subprocess.Popen[str]], path: str, length: int | None, status: int
) -> None:
    """Of a stranger's either. It goes to a file, before anybody is asked: it would fill the disk."""
    made, server = client
    most, piece = 0, bytes(2**16)
    made.sendall(posted(path, length))
    for _ in range((length or 40 * MIB) // len(piece)):
        made.sendall(b"10000\r\n" + piece + b"\r\n" if length is None else piece)
        most = max(most, kept(server.pid))
    made.sendall(b"0\r\n\r\n" if length is None else b"")
    assert made.recv(4096).split()[1] == str(status).encode()
    assert most <= MIB + 1


def kept(pid: int) -> int:
    """Bytes in temporary files without a name that a process has open."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if "/tmp" in (name := os.readlink(link)) and name.endswith("(deleted)"):
                found += link.stat().st_size
    return found


@pytest.mark.slow
def test_what_drips_in_or_has_no_end_is_cut_off_by_daphne_and_told_why(
    server: tuple[tuple[str, int], subprocess.Popen[str]],
) -> None:
    """A byte now and then is never silent for long, and kept a connection for ever."""
    said = (b"", b"POST /api/login HTTP/1.1\r\nX-Slow: ", posted("/api/login", 10**5), LONG)
    with contextlib.ExitStack() as stack:
        waiting = {stack.enter_context(socket.create_connection(server[0])): it for it in said}
        answers: dict[bytes, bytes] = {}
        for made, head in waiting.items():
            made.sendall(head)
        began = monotonic()
        while waiting and monotonic() - began < PATIENCE_S:
            for made in select.select(list(waiting), [], [], DRIP_S)[0]:
                answers[waiting.pop(made)] = made.recv(4096)
            for made in waiting:
                made.sendall(b"x")
        assert [answers[head][9:12] for head in said] == [b"", b"", b"408", b"413"]


@pytest.mark.slow
def test_daphne_agrees_on_no_compression(
    client: tuple[socket.socket, subprocess.Popen[str]],
) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    client[0].sendall(HANDSHAKE.replace(b"GET /ws/ HTTP/1.1\r\n", QUIET)[:-2] + offer)
    answer = client[0].recv(4096)
    assert b" 101 " in answer
    assert b"extensions" not in answer.lower()


def everything(client: socket.socket) -> int:
    """How many bytes there are to read until the connection ends."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(2**20):
            count += len(data)
    return count


if __name__ == "__main__":
    serve()
