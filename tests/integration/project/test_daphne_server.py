"""Daphne as we run it, with an application that floods a revoked device; this file is the server, too."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 20.0
ROOT = Path(__file__).resolve().parents[3]
FLOOD = 64  # messages of 1 MiB: far more than the kernel takes for a client that does not read
HANDSHAKE = (
    b"GET /ws/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Write more than is taken, revoke, and say so once the connection is gone."""
    await receive()
    await send({"type": "websocket.accept"})
    for _ in range(FLOOD):
        await send({"type": "websocket.send", "bytes": bytes(2**20)})
    await send({"type": "websocket.close", "code": 4501})
    while (await receive())["type"] != "websocket.disconnect":
        pass
    print("gone", flush=True)


def serve() -> None:
    """Run our Daphne with `application` on the listener given as standard input."""
    from project import daphne_server

    class Patient(daphne_server.Protocol):
        """Autobahn's own patience, of a fraction of a second, is not what cuts the device off."""

        def onOpen(self) -> None:  # noqa: N802 - Autobahn's name
            super().onOpen()
            self.closeHandshakeTimeout = 10 * PATIENCE_S

    async def nothing() -> None:
        return None

    daphne_server.Protocol = Patient  # type: ignore[misc]
    sys.modules["project.asgi"] = types.SimpleNamespace(application=application)  # type: ignore[assignment]
    daphne_server.run(
        socket.socket(fileno=0),
        warm_up=nothing,
        drain=nothing,
        ready=lambda: print("ready", flush=True),
        on_end=lambda loop, end: loop.add_signal_handler(15, end),
    )


@pytest.fixture
def client() -> Iterator[tuple[socket.socket, subprocess.Popen[str]]]:
    """A connection to a server of its own, that has shaken hands and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=listener.fileno(),
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            with socket.create_connection(listener.getsockname()) as made:
                made.settimeout(PATIENCE_S)
                made.sendall(HANDSHAKE)
                yield made, server
        finally:
            server.terminate()
            server.wait(PATIENCE_S)
            assert server.stdout is not None
            server.stdout.close()


@pytest.mark.slow
async def test_a_revoked_device_that_does_not_read_never_gets_what_was_still_daphne_s(
    client: tuple[socket.socket, subprocess.Popen[str]],
) -> None:
    made, server = client
    assert server.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.to_thread(server.stdout.readline) == "gone\n"
    assert await asyncio.to_thread(everything, made) < FLOOD * 2**20


def everything(client: socket.socket) -> int:
    """How many bytes there are to read until the connection ends."""
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(2**20):
            count += len(data)
    return count


if __name__ == "__main__":
    serve()
