"""The Python client against a whole site: what is sent arrives once, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from messaging.client import ApiError, Client, ClosedError, RequestRefused, Store
from messaging.protocol import JSON, MSGPACK, Codec, FrameError, Refused
from messaging.protocol.client.happenings import Applied, Disconnected
from messaging.protocol.frames import Message
from tests.acceptance import site as sites

pytestmark = pytest.mark.slow

site = sites.site  # the fixture

PATIENCE_S = 30.0  # for what takes milliseconds on an idle machine


class Listener:
    """Collects what a client is told, as an application would."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.messages: dict[str, list[Message]] = {}  # by conversation
        self.ends: list[Disconnected] = []
        self._grown = asyncio.Condition()
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for happening in self.client:
            async with self._grown:
                if isinstance(happening, Applied):
                    told = self.messages.setdefault(happening.conversation, [])
                    told += [one for one in happening.messages if one.kind == "text"]
                elif isinstance(happening, Disconnected):
                    self.ends.append(happening)
                self._grown.notify_all()

    async def until(self, conversation: str, count: int) -> list[str]:
        """The bodies heard so far in a conversation, as soon as there are so many."""
        told = self.messages.setdefault(conversation, [])
        async with asyncio.timeout(PATIENCE_S), self._grown:
            await self._grown.wait_for(lambda: len(told) >= count)
        return [one.body for one in told]

    async def until_ended(self) -> Disconnected:
        """The first end of the connection."""
        async with asyncio.timeout(PATIENCE_S), self._grown:
            await self._grown.wait_for(lambda: bool(self.ends))
        return self.ends[0]


@asynccontextmanager
async def device(
    site: str, username: str, codec: Codec = MSGPACK
) -> AsyncIterator[tuple[Client, Listener]]:
    """A device of a demo user, in memory, and what it hears."""
    client = await Client.log_in(site, username=username, password="lockstep", codec=codec)
    async with client:
        yield client, Listener(client)


async def group(client: Client) -> str:
    """A new conversation of alice and bob."""
    about = {"kind": "group", "title": "test", "members": [{"username": "bob"}]}
    return str((await client.rest.call("POST", "/conversations", about))["conversation"])


async def stored(client: Client, conversation: str) -> list[dict[str, Any]]:
    """The texts that the server has, in screen order."""
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        path = f"/conversations/{conversation}/messages?limit=100{before}"
        page = (await client.rest.call("GET", path))["messages"]
        if not page:
            return sorted(
                (one for one in found if one["kind"] == "text"), key=lambda one: one["position"]
            )
        found += page
        before = f"&before={min(one['position'] for one in page)}"


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_second_device_receives_what_the_first_one_sent_changed_and_deleted(
    site: str, codec: Codec
) -> None:
    """In order, with the newest state on both."""
    async with (
        device(site, "alice", codec) as (alice, _),
        device(site, "bob", codec) as (bob, heard),
    ):
        conversation = await group(alice)
        sent = [await alice.send(conversation, body) for body in ("one", "two", "é 😀")]
        assert await heard.until(conversation, 3) == ["one", "two", "é 😀"]
        await alice.edit(conversation, sent[0].message, base_version=1, body="one!")
        await alice.delete(conversation, sent[1].message, base_version=1)
        assert (await heard.until(conversation, 5))[3:] == ["one!", ""]
        texts = [one for one in await bob.messages(conversation) if one.kind == "text"]
        assert [one.body for one in texts] == ["one!", "", "é 😀"]
        assert texts[1].deleted


async def test_a_refused_request_says_why(site: str) -> None:
    """A conflict brings the message as it is; what can't be stored never leaves the client."""
    async with device(site, "alice") as (alice, _):
        conversation = await group(alice)
        sent = await alice.send(conversation, "mine")
        await alice.edit(conversation, sent.message, base_version=1, body="newer")
        with pytest.raises(RequestRefused) as caught:
            await alice.edit(conversation, sent.message, base_version=1, body="stale")
        assert caught.value.code == "conflict"
        assert caught.value.error.current is not None
        assert caught.value.error.current.body == "newer"
        with pytest.raises(RequestRefused, match="no_such_conversation"):
            await alice.send(str(uuid4()), "nobody")
        with pytest.raises(Refused, match="NUL"):
            alice.send(conversation, "\x00")
        with pytest.raises(FrameError, match="conversation"):
            alice.send("no id", "nobody")
        assert not alice.core.outbox


async def test_a_device_that_comes_back_catches_up(site: str, tmp_path: Path) -> None:
    """Its store knows where it was."""
    path = tmp_path / "bob.sqlite"
    async with device(site, "alice") as (alice, _):
        conversation = await group(alice)
        async with await Client.log_in(
            site, username="bob", password="lockstep", outbox=path
        ) as bob:
            heard = Listener(bob)
            await alice.send(conversation, "while here")
            assert await heard.until(conversation, 1) == ["while here"]
        for number in range(300):
            alice.send(conversation, f"while away {number}")
        await alice.settled()
        async with await Client.log_in(
            site, username="bob", password="lockstep", outbox=path
        ) as bob:
            heard = Listener(bob)
            assert await heard.until(conversation, 300) == [
                f"while away {number}" for number in range(300)
            ]


async def test_what_was_not_taken_from_the_iterator_is_told_after_the_restart(
    site: str, tmp_path: Path
) -> None:
    """Stored is not yet taken: the application comes first."""
    path = tmp_path / "bob.sqlite"
    async with device(site, "alice") as (alice, _):
        conversation = await group(alice)
        async with await Client.log_in(
            site, username="bob", password="lockstep", outbox=path
        ) as bob:
            await alice.send(conversation, "unheard")
            await bob.send(conversation, "also unheard")
        async with await Client.log_in(
            site, username="bob", password="lockstep", outbox=path
        ) as bob:
            assert await Listener(bob).until(conversation, 2) == ["unheard", "also unheard"]


async def test_server_killed_in_mid_stream_loses_and_repeats_nothing(site: str) -> None:
    """Both devices come back by themselves and have everything once, in order."""
    async with device(site, "alice") as (alice, sender), device(site, "bob") as (_, heard):
        conversation = await group(alice)
        expected = [f"message {number}" for number in range(400)]
        for body in expected:
            alice.send(conversation, body)
            if body == expected[200]:
                await heard.until(conversation, 50)
                _kill_server(site)
        async with asyncio.timeout(PATIENCE_S):
            await alice.settled()
        assert await heard.until(conversation, 400) == expected
        assert await sender.until(conversation, 400) == expected
        assert [one["body"] for one in await stored(alice, conversation)] == expected
        assert (await heard.until_ended()).retry_in is not None


def _kill_server(site: str) -> None:
    """`kill -9` the server process behind this address; `serve` starts another one."""
    port = site.rstrip("/").rpartition(":")[2]
    killed = [process for process in psutil.process_iter(["cmdline"]) if _serves(process, port)]
    for process in killed:
        process.kill()
    assert killed


def _serves(process: psutil.Process, port: str) -> bool:
    command = process.info["cmdline"] or []
    return "project.worker" in command and port in command


async def test_client_killed_in_mid_stream_loses_and_repeats_nothing(
    site: str, tmp_path: Path
) -> None:
    """Killed while it sends and receives: its outbox goes on where it stopped."""
    async with device(site, "alice") as (alice, _):
        conversation = await group(alice)
        path, lines = tmp_path / "bob.sqlite", [f"line {number}" for number in range(600)]
        first = await _chat(site, conversation, path, lines, kill_after=60)
        second = await _chat(site, conversation, path, [])
        had = [one["body"] for one in await stored(alice, conversation)]
        assert had == lines[: len(had)], "a prefix, in order, without repeats"
        assert len(had) >= 60
        third = await _chat(site, conversation, path, lines[len(had) :])
        everything = await stored(alice, conversation)
    assert [one["body"] for one in everything] == lines
    # What was printed and not yet remembered may be printed again, never left out.
    printed = {line.partition("\t")[0] for line in first + second + third}
    assert {str(one["seq"]) for one in everything} <= printed
    store = Store(path)
    kept = [one for one in store.messages(conversation, limit=10_000) if one.kind == "text"]
    store.close()
    assert [(one.id, one.seq, one.body) for one in kept] == [
        (one["id"], one["seq"], one["body"]) for one in everything
    ]


async def _chat(
    site: str, conversation: str, path: Path, lines: list[str], *, kill_after: int | None = None
) -> list[str]:
    """Run the command line client as bob; `kill -9` it when it has printed so many lines."""
    command = [sys.executable, "-m", "messaging.client", "--url", site, "--username", "bob"]
    command += ["--password", "lockstep", "--conversation", conversation, "--outbox", str(path)]
    chat = await asyncio.create_subprocess_exec(
        *command, cwd=sites.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert chat.stdin is not None
    assert chat.stdout is not None
    chat.stdin.write("".join(f"{line}\n" for line in lines).encode())
    if kill_after is None:
        chat.stdin.close()
    printed: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        async for line in chat.stdout:
            printed.append(line.decode())
            if len(printed) == kill_after:
                os.kill(chat.pid, signal.SIGKILL)
        assert await chat.wait() == (0 if kill_after is None else -signal.SIGKILL)
    return printed


async def test_a_revoked_device_stops_and_says_so(site: str) -> None:
    """It does not come back by itself, and nobody waits for ever."""
    async with device(site, "alice") as (alice, heard):
        conversation = await group(alice)
        await alice.send(conversation, "still here")
        await alice.rest.call("DELETE", f"/devices/{alice.core.device}")
        ended = await heard.until_ended()
        assert ended.retry_in is None
        assert "revoked" in ended.reason
        with pytest.raises(ClosedError, match="revoked"):
            await alice.send(conversation, "too late")


async def test_a_wrong_password_and_an_absent_server_are_told_in_one_line(site: str) -> None:
    """No traceback is needed to mend either."""
    with pytest.raises(ApiError) as caught:
        await Client.log_in(site, username="alice", password="wrong")
    assert caught.value.status == 401
    with pytest.raises(ApiError, match="is the server running"):
        await Client.log_in("http://127.0.0.1:9", username="alice", password="lockstep")
