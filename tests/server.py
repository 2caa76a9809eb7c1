"""`manage.py serve` with one process, from the outside, and WebSockets over TCP to it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.device import Closed
from tests.peer import ROOT

START_S = 60.0


class Server:
    """`manage.py serve` with one process, from the outside; what it says goes to `log`."""

    def __init__(self, kind: str, environment: dict[str, str], *, log: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = ["serve", "--no-migrate", "--no-spare", "--processes", "1", "--server", kind]
        with (log or Path(os.devnull)).open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", *command, "--port", str(self.port)],
                cwd=ROOT,
                env=os.environ | {"DEBUG": "0", "HTTPS": "0"} | environment,
                stdout=output,
                stderr=output,
            )
        self.wait()

    def wait(self) -> None:
        """Readiness: until it answers."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/docs", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server did not start")

    @property
    def worker(self) -> psutil.Process:
        """The process that holds the sockets."""
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


class Network:
    """A WebSocket over TCP."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, data: str) -> None:
        """Send one message. Raises Closed."""
        try:
            await self._connection.send(data)
        except ConnectionClosed as closed:
            raise _closed(closed) from closed

    async def send_in_parts(self, parts: list[str]) -> None:
        """Send one message in several frames, as far as the server takes them."""
        with contextlib.suppress(ConnectionClosed):
            await self._connection.send(parts)

    async def receive(self) -> str:
        """The next message. Raises Closed."""
        try:
            return str(await self._connection.recv())
        except ConnectionClosed as closed:
            raise _closed(closed) from closed

    async def cut(self) -> None:
        """Reset the TCP connection."""
        self._connection.transport.abort()
        await self._connection.wait_closed()


def _closed(closed: ConnectionClosed) -> Closed:
    return Closed(closed.rcvd.code if closed.rcvd is not None else None)


async def dial(port: int, *, token: str | None = None) -> Network:
    """A new connection; a `token` goes into its header."""
    connection = await connect(
        f"ws://127.0.0.1:{port}/ws/",
        subprotocols=["lockstep.v1.json"],  # type: ignore[list-item]
        additional_headers={"Authorization": f"Bearer {token}"} if token else None,
    )
    return Network(connection)
