"""A line that was given up before it opened never opens: two at once would mix two sessions into one device."""

import asyncio
from pathlib import Path
from time import monotonic_ns

import pytest
from picows import WSMsgType

from perf.history import testimony
from perf.history.recorder import Recorder
from perf.load.device import ConnectFailed, Device
from perf.load.line import Line
from perf.load.observer import Troubles
from perf.load.surroundings import Surroundings
from perf.load.wire import Pages
from perf.rig.accounts import Account

NOWHERE = "http://127.0.0.1:1"


class Owner:
    def __init__(self) -> None:
        self.opened = 0
        self.heard: list[tuple[bytes, int]] = []
        self.heard_at_end = -1

    def on_open(self, line: Line) -> None:
        self.opened += 1

    def on_message(self, line: Line, data: bytes, t: int) -> None:
        self.heard.append((data, t))

    def on_end(self, line: Line, code: int) -> None:
        self.heard_at_end = len(self.heard)


class Frame:
    msg_type = WSMsgType.TEXT

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get_payload_as_bytes(self) -> bytes:
        return self._data


class Transport:
    disconnected = False

    def send_close(self) -> None: ...

    def disconnect(self) -> None:
        self.disconnected = True


def test_a_line_that_was_closed_before_it_was_open_hangs_up_and_tells_nobody() -> None:
    owner, transport = Owner(), Transport()
    line = Line(owner)
    line.close()
    line.on_ws_connected(transport)  # type: ignore[arg-type]
    assert transport.disconnected
    assert owner.opened == 0


def test_a_line_that_is_wanted_tells_its_owner() -> None:
    owner = Owner()
    Line(owner).on_ws_connected(Transport())  # type: ignore[arg-type]
    assert owner.opened == 1


async def test_what_came_is_passed_on_when_the_other_sockets_were_read_with_the_moment_it_came() -> (
    None
):
    owner, transport = Owner(), Transport()
    line = Line(owner)
    line.on_ws_connected(transport)  # type: ignore[arg-type]
    for data in (b"1", b"2"):
        line.on_ws_frame(transport, Frame(data))  # type: ignore[arg-type]
    read = monotonic_ns()
    assert owner.heard == []
    await asyncio.sleep(0)
    assert [data for data, _ in owner.heard] == [b"1", b"2"]
    assert all(t < read for _, t in owner.heard)


async def test_what_came_before_the_end_is_passed_on_before_it() -> None:
    owner, transport = Owner(), Transport()
    line = Line(owner)
    line.on_ws_connected(transport)  # type: ignore[arg-type]
    line.on_ws_frame(transport, Frame(b"goodbye"))  # type: ignore[arg-type]
    line.on_ws_disconnected(transport)  # type: ignore[arg-type]
    assert owner.heard_at_end == 1


async def test_a_connection_that_ends_before_its_handshake_did_not_open() -> None:
    """Behind a proxy whose server is gone: a device waited there for its welcome, for ten seconds."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        owner = Owner()
        with pytest.raises(ConnectionResetError):
            await Line(owner).open(f"http://127.0.0.1:{port}")
    assert owner.opened == 0


async def test_a_device_that_dials_again_hears_nothing_of_the_line_it_gave_up(
    tmp_path: Path,
) -> None:
    """Its welcome was taken for that of the newer one, which was then sent requests before it was open."""
    with Recorder(tmp_path / "0.jsonl", run="run", scenario="test", seed=1) as recorder:
        around = Surroundings(
            url=NOWHERE, recorder=recorder, observer=Troubles(), pages=Pages(recorder)
        )
        account = Account(user="u", device="d", token="t", conversations=("c",))
        said = testimony.Testimony(recorder, device="d", user="u")
        device = Device(account, around, said, starts={"c": 0})
        with pytest.raises(ConnectFailed):
            await device.connect()
        stale, transport = Line(device), Transport()
        stale.on_ws_connected(transport)  # type: ignore[arg-type]
        assert transport.disconnected
        assert device.sessions == 0
        device.on_message(stale, b"this would be no frame", 0)
        assert device.bytes_received == 0
