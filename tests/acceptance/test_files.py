"""Files through a real server: byte for byte, bounded, and nothing of what was broken off."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from messaging.api.downloads import LOOK_S
from messaging.client import ApiError, Client, RequestRefused
from messaging.protocol.client.happenings import Applied
from messaging.protocol.frames import Message
from tests import scene
from tests.integration.conftest import hand, shared_database, sql  # noqa: F401  (fixtures)
from tests.scene import Psql, Room, Seat, eventually
from tests.server import Server

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

MOST = 26_214_400  # bytes of one file, by default
GROWTH = 12_582_912  # bytes: buffers of one request, and what Python keeps of them


KINDS = ["uvicorn", pytest.param("daphne", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest,
    shared_database: None,  # noqa: F811
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """One for many tests, with a storage of its own."""
    place = tmp_path_factory.mktemp(f"site-{request.param}")
    environment = {
        "DATABASE_URL": scene.database_url(),
        "REDIS_URL": redis_url,
        "LOCKSTEP_DATA": str(place),
    }
    made = Server(request.param, environment)
    made.place = place  # type: ignore[attr-defined]
    yield made
    made.stop()


@pytest.fixture
def shelf(server: Server) -> Path:
    """Where the server keeps contents."""
    return Path(server.place) / "files"  # type: ignore[attr-defined]


@pytest.fixture
def room(sql: Psql) -> Room:  # noqa: F811
    return scene.new_room(sql)


def client_of(server: Server, seat: Seat) -> Client:
    return Client(f"http://127.0.0.1:{server.port}", token=seat.token)


async def arrived(client: Client) -> Message:
    """The first message of somebody that this device is told."""
    async with asyncio.timeout(scene.PATIENCE_S):
        async for happening in client:
            if isinstance(happening, Applied):
                for message in happening.messages:
                    if message.kind == "text":
                        return message
    raise AssertionError("the client ended")


def contents(shelf: Path) -> int:
    return sum(path.is_file() for path in shelf.rglob("*")) if shelf.exists() else 0


async def test_a_file_sent_from_one_device_is_fetched_by_another_byte_for_byte(
    server: Server,
    room: Room,
    tmp_path: Path,
) -> None:
    content = os.urandom(3_000_001)
    source, target = tmp_path / "Füße.bin", tmp_path / "copy.bin"
    await asyncio.to_thread(source.write_bytes, content)
    async with client_of(server, room.first) as ann, client_of(server, room.second) as bob:
        file = await ann.rest.upload(source)
        await ann.send(room.id, "look", attachments=[file])
        message = await arrived(bob)
        assert message.attachments == (file,)
        assert (file.name, file.size) == ("Füße.bin", len(content))
        assert await bob.rest.download(file.id) == content
        await bob.rest.download_to(target, file)
        assert await asyncio.to_thread(target.read_bytes) == content
        assert message in await bob.messages(room.id)


async def test_who_may_not_read_the_message_gets_nothing_of_its_file(
    server: Server,
    room: Room,
    sql: Psql,  # noqa: F811
) -> None:
    stranger, lost = scene.new_seat(sql), scene.new_seat(sql, room.second.user)
    async with client_of(server, room.first) as ann:
        file = await ann.rest.upload(b"secret", name="a.txt")
        stored = await ann.send(room.id, "look", attachments=[file.id])
        assert await client_of(server, room.second).rest.download(file) == b"secret"
        await asyncio.to_thread(scene.revoke, sql, lost.device)
        await asyncio.to_thread(scene.leave, sql, room.id, room.second.user)
        for seat, code in (
            (stranger, "no_such_attachment"),
            (room.second, "no_such_attachment"),
            (lost, "revoked"),
        ):
            with pytest.raises(ApiError) as refused:
                await client_of(server, seat).rest.download(file)
            assert refused.value.code == code
        with pytest.raises(RequestRefused, match="no_such_attachment"):
            await ann.send(room.id, "again", attachments=[file])
        await ann.delete(room.id, stored.message, base_version=1)
        with pytest.raises(ApiError, match="no_such_attachment"):
            await ann.rest.download(file)


async def test_a_file_above_the_limit_is_refused_in_one_line(
    server: Server, room: Room, shelf: Path
) -> None:
    before = contents(shelf)
    with pytest.raises(ApiError) as refused:
        await client_of(server, room.first).rest.upload(bytes(MOST + 1))
    assert (refused.value.status, refused.value.code) == (413, "file_too_large")
    assert refused.value.message == (
        f"A file has at most {MOST} bytes; split it, or share it in another way."
    )
    assert contents(shelf) == before


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_who_asks_to_send_far_too_much_is_refused_before_it_comes(
    server: Server, room: Room
) -> None:
    """Daphne always says that it may come; what comes is dropped, and that is told in the end."""
    told = await asyncio.to_thread(claim, server, room.first, 100 * MOST)
    assert told["code"] == "file_too_large"


def claim(server: Server, seat: Seat, size: int) -> dict[str, Any]:
    """Ask to be let send so much; returns the refusal."""
    with begun(server, seat, size, "Expect: 100-continue\r\n") as line:
        head, _, body = b"".join(iter(lambda: line.recv(65_536), b"")).partition(b"\r\n\r\n")
    assert b" 413 " in head.splitlines()[0]
    return dict(json.loads(body))


def begun(server: Server, seat: Seat, size: int, more: str = "") -> socket.socket:
    """A connection on which an upload of so many bytes has begun."""
    line = socket.create_connection(("127.0.0.1", server.port), timeout=scene.PATIENCE_S)
    head = (
        "POST /api/files HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Bearer {seat.token}\r\nContent-Length: {size}\r\n{more}"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    line.sendall(head.encode())
    return line


def nameless(server: Server) -> int:
    """Temporary files that the server has open; they have no name, so that nothing can be left of them."""
    found = 0
    for link in Path(f"/proc/{server.worker.pid}/fd").iterdir():
        try:
            found += os.readlink(link).endswith("(deleted)")
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


async def test_an_upload_that_breaks_off_leaves_neither_row_nor_file(
    server: Server,
    room: Room,
    shelf: Path,
    sql: Psql,  # noqa: F811
) -> None:
    before, open_before = contents(shelf), nameless(server)
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with begun(server, room.first, 10_000_000) as line:
        await asyncio.to_thread(line.sendall, part + bytes(5_000_000))
        await eventually(lambda: nameless(server) > open_before)
    await eventually(lambda: nameless(server) == open_before)
    mine = "device_id = %s"
    assert scene.count(sql, "messaging_attachment", mine, room.first.device) == 0
    assert contents(shelf) == before
    # The server is well, and the same device uploads.
    file = await client_of(server, room.first).rest.upload(b"whole")
    assert file.sha256 == hashlib.sha256(b"whole").hexdigest()


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_who_reads_slowly_keeps_no_database_connection_from_others(
    server: Server, room: Room
) -> None:
    """More of them than the pool has connections; each has got the head of its answer."""
    rest = client_of(server, room.first).rest
    file = await rest.upload(bytes(20_000_000))
    slow = [await asyncio.to_thread(started, server, room.first, file.id) for _ in range(12)]
    async with asyncio.timeout(8):  # the pool itself gives up after ten seconds
        assert (await rest.call("GET", "/devices"))["devices"]
    for line in slow:
        line.close()


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
@pytest.mark.parametrize("way", ["revoked", "left"])
async def test_a_download_ends_with_the_right_to_it(
    server: Server,
    room: Room,
    sql: Psql,  # noqa: F811
    way: str,
) -> None:
    size, reader = 20_000_000, room.second
    async with client_of(server, room.first) as ann:
        file = await ann.rest.upload(bytes(size))
        await ann.send(room.id, "look", attachments=[file.id])
    with await asyncio.to_thread(started, server, reader, file.id) as line:
        began = time.monotonic()
        if way == "revoked":
            await asyncio.to_thread(scene.revoke, sql, reader.device)
        else:
            await asyncio.to_thread(scene.leave, sql, room.id, reader.user)
        await scene.eventually(lambda: time.monotonic() - began > LOOK_S)
        assert await asyncio.to_thread(read_to_the_end, line) < size


def read_to_the_end(line: socket.socket) -> int:
    size = 0
    while part := line.recv(1_048_576):
        size += len(part)
    return size


def started(server: Server, seat: Seat, file: str) -> socket.socket:
    """A connection on which a download has begun, and of which nothing more is read."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(scene.PATIENCE_S)
    line.connect(("127.0.0.1", server.port))
    head = (
        f"GET /api/files/{file} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {seat.token}"
    )
    line.sendall(f"{head}\r\n\r\n".encode())
    assert line.recv(12) == b"HTTP/1.1 200"
    return line


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_memory_does_not_grow_by_the_size_of_files(
    server: Server, room: Room, tmp_path: Path
) -> None:
    """Daphne gives the application a whole body at once: there it does."""
    rest = client_of(server, room.first).rest
    source, target = tmp_path / "large", tmp_path / "copy"
    await asyncio.to_thread(source.write_bytes, os.urandom(MOST))
    await rest.download(await rest.upload(os.urandom(3_000_000)))  # whatever is loaded once
    worker = server.worker
    up, file = await peak_of(worker, rest.upload(source))
    down, _ = await peak_of(worker, rest.download_to(target, file))
    assert await asyncio.to_thread(target.read_bytes) == await asyncio.to_thread(source.read_bytes)
    print(f"25 MiB up: {up / 2**20:.1f} MiB more at the peak, down: {down / 2**20:.1f} MiB")
    assert max(up, down) < GROWTH


async def peak_of(worker: psutil.Process, work: Any) -> tuple[int, Any]:
    """How far the resident memory rises while this is done (bytes), and its result."""
    before = worker.memory_info().rss
    forget_peak(worker)
    result = await work
    return peak(worker) - before, result


def forget_peak(worker: psutil.Process) -> None:
    """Have the kernel count the peak of the resident memory anew."""
    Path(f"/proc/{worker.pid}/clear_refs").write_text("5")


def peak(worker: psutil.Process) -> int:
    """The most resident memory since then, in bytes."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    found = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(found.split()[1]) * 1024
