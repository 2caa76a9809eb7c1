"""The chat of the command line: what it prints, what it keeps, and how it ends while nobody types."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from messaging.client import ApiError, Client
from messaging.client import __main__ as chat
from messaging.protocol import JSON
from messaging.protocol.frames import Message
from tests.unit.messaging.client.test_client import NOBODY, C, web_server

GONE = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
        ("mine\r7\tann\tforged", r"mine\r7\tann\tforged"),
        ("\x1b]0;title\x07\x9b2J", r"\x1b]0;title\x07\x9b2J"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("שלום, é 👩‍👧", "שלום, é 👩‍👧"),
    ],
)
def test_a_message_is_one_line_and_commands_no_terminal(body: str, shown: str) -> None:
    message = Message(id="m1", seq=7, position=7, body=body, user="bob")
    assert chat.line_of(message) == f"7\tbob\t{shown}"


async def test_a_code_that_links_nothing_leaves_the_kept_token_as_it_is(tmp_path: Path) -> None:
    """The device that it is of can still come in."""
    kept = tmp_path / "token"
    kept.write_text("of the device before\n")
    given = Namespace(url=NOBODY, link="0A1B-2C3D", token=kept, outbox=None, name="n")
    with pytest.raises(ApiError, match="can't be reached"):
        await chat._link(given, JSON)
    assert kept.read_text() == "of the device before\n"
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_nobody_waits_for_a_line_when_the_server_wants_the_device_no_more() -> None:
    async with web_server(GONE) as url, Client(url, token="t") as client, asyncio.timeout(10):
        screen = chat.Screen(client, C)
        assert await screen.meanwhile(asyncio.Event().wait()) is None
        assert screen.is_over


@pytest.mark.slow
def test_ctrl_c_ends_it_while_it_waits_for_a_line(tmp_path: Path) -> None:
    """The thread that reads the terminal is waited for by nobody."""
    token = tmp_path / "token"
    token.write_text("t")
    command = [sys.executable, "-m", "messaging.client", "--url", NOBODY, "--token", str(token)]
    with subprocess.Popen(
        [*command, "--conversation", C], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stderr is not None
        assert b"can't be reached" in running.stderr.readline()  # so it waits for a line by now
        running.send_signal(signal.SIGINT)
        try:
            assert running.wait(10) == 130
        finally:
            running.kill()
