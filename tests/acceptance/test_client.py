"""The Python client against a whole site: what is sent arrives once, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest

from messaging.client import ApiError, Client, ClosedError, RequestRefused, Rest, Store
from messaging.protocol import JSON, MSGPACK, Codec, FrameError, Refused
from messaging.protocol.client.happenings import AnyHappening, Applied, Connected, Disconnected
from messaging.protocol.client.patience import Patience
from messaging.protocol.frames import Message
from perf.faults.proxy import Proxy, Rule
from project import services
from tests import scene
from tests.acceptance.site import ROOT, Serving

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0  # for what takes milliseconds on an idle machine
PEOPLE = """
    INSERT INTO presence_user (username, password, first_name, last_name, email, is_superuser,
                               is_staff, is_active, date_joined)
    SELECT name, password, '', '', '', false, false, true, now()
    FROM presence_user, unnest(ARRAY['ann', 'ben']) AS name WHERE username = 'alice'
"""  # with the demo user's password


@pytest.fixture(scope="module")
def address(site: Serving) -> str:
    """The site's, which then also has Ann and Ben: what they do never shows on Alice's page."""
    with psycopg.connect(services.locate(site.directory).database_url, autocommit=True) as sql:
        sql.execute(PEOPLE)
    return site.address


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
    address: str, username: str, codec: Codec = MSGPACK
) -> AsyncIterator[tuple[Client, Listener]]:
    """A device of a user, in memory, and what it hears."""
    client = await Client.log_in(address, username=username, password="lockstep", codec=codec)
    async with client:
        yield client, Listener(client)


async def group(client: Client) -> str:
    """A new conversation of ann and ben."""
    about = {"kind": "group", "title": "test", "members": [{"username": "ben"}]}
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
    address: str, codec: Codec
) -> None:
    """In order, with the newest state on both."""
    async with (
        device(address, "ann", codec) as (ann, _),
        device(address, "ben", codec) as (ben, heard),
    ):
        conversation = await group(ann)
        sent = [await ann.send(conversation, body) for body in ("one", "two", "é 😀")]
        assert await heard.until(conversation, 3) == ["one", "two", "é 😀"]
        await ann.edit(conversation, sent[0].message, base_version=1, body="one!")
        await ann.delete(conversation, sent[1].message, base_version=1)
        assert (await heard.until(conversation, 5))[3:] == ["one!", ""]
        texts = [one for one in await ben.messages(conversation) if one.kind == "text"]
        assert [one.body for one in texts] == ["one!", "", "é 😀"]
        assert texts[1].deleted


async def test_a_refused_request_says_why(address: str) -> None:
    """A conflict brings the message as it is; what can't be stored never leaves the client."""
    async with device(address, "ann") as (ann, _):
        conversation = await group(ann)
        sent = await ann.send(conversation, "mine")
        await ann.edit(conversation, sent.message, base_version=1, body="newer")
        with pytest.raises(RequestRefused) as caught:
            await ann.edit(conversation, sent.message, base_version=1, body="stale")
        assert caught.value.code == "conflict"
        assert caught.value.error.current is not None
        assert caught.value.error.current.body == "newer"
        with pytest.raises(RequestRefused, match="no_such_conversation"):
            await ann.send(str(uuid4()), "nobody")
        with pytest.raises(Refused, match="NUL"):
            ann.send(conversation, "\x00")
        with pytest.raises(FrameError, match="conversation"):
            ann.send("no id", "nobody")
        assert not ann.core.outbox


async def test_a_device_that_comes_back_catches_up(address: str, tmp_path: Path) -> None:
    """Its store knows where it was."""
    path = tmp_path / "ben.sqlite"
    async with device(address, "ann") as (ann, _):
        conversation = await group(ann)
        async with await Client.log_in(
            address, username="ben", password="lockstep", outbox=path
        ) as ben:
            heard = Listener(ben)
            await ann.send(conversation, "while here")
            assert await heard.until(conversation, 1) == ["while here"]
        for number in range(300):
            ann.send(conversation, f"while away {number}")
        await ann.settled()
        async with await Client.log_in(
            address, username="ben", password="lockstep", outbox=path
        ) as ben:
            heard = Listener(ben)
            assert await heard.until(conversation, 300) == [
                f"while away {number}" for number in range(300)
            ]


async def test_what_was_not_taken_from_the_iterator_is_told_after_the_restart(
    address: str, tmp_path: Path
) -> None:
    """Stored is not yet taken: the application comes first."""
    path = tmp_path / "ben.sqlite"
    async with device(address, "ann") as (ann, _):
        conversation = await group(ann)
        async with await Client.log_in(
            address, username="ben", password="lockstep", outbox=path
        ) as ben:
            await ann.send(conversation, "unheard")
            await ben.send(conversation, "also unheard")
        async with await Client.log_in(
            address, username="ben", password="lockstep", outbox=path
        ) as ben:
            assert await Listener(ben).until(conversation, 2) == ["unheard", "also unheard"]


async def test_server_killed_in_mid_stream_loses_and_repeats_nothing(
    address: str, site: Serving
) -> None:
    """Both devices come back by themselves and have everything once, in order."""
    async with device(address, "ann") as (ann, sender), device(address, "ben") as (_, heard):
        conversation = await group(ann)
        expected = [f"message {number}" for number in range(400)]
        for body in expected:
            ann.send(conversation, body)
            if body == expected[200]:
                await heard.until(conversation, 50)
                _kill_server(site)
        async with asyncio.timeout(PATIENCE_S):
            await ann.settled()
        assert await heard.until(conversation, 400) == expected
        assert await sender.until(conversation, 400) == expected
        assert [one["body"] for one in await stored(ann, conversation)] == expected
        assert (await heard.until_ended()).retry_in is not None


def _kill_server(site: Serving) -> None:
    """`kill -9` what serves; `serve` starts it anew."""
    killed = psutil.Process(site.process.pid).children()
    for process in killed:
        process.kill()
    assert killed


async def test_client_killed_in_mid_stream_loses_and_repeats_nothing(
    address: str, tmp_path: Path
) -> None:
    """Killed while it sends and receives: its outbox goes on where it stopped."""
    async with device(address, "ann") as (ann, _):
        conversation = await group(ann)
        path, lines = tmp_path / "ben.sqlite", [f"line {number}" for number in range(600)]
        first = await _chat(address, conversation, path, lines, kill_after=60)
        second = await _chat(address, conversation, path, [])
        had = [one["body"] for one in await stored(ann, conversation)]
        assert had == lines[: len(had)], "a prefix, in order, without repeats"
        assert len(had) >= 60
        third = await _chat(address, conversation, path, lines[len(had) :])
        everything = await stored(ann, conversation)
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
    address: str, conversation: str, path: Path, lines: list[str], *, kill_after: int | None = None
) -> list[str]:
    """Run the command line client as ben; `kill -9` it when it has printed so many lines."""
    command = [sys.executable, "-m", "messaging.client", "--url", address, "--username", "ben"]
    command += ["--password", "lockstep", "--conversation", conversation, "--outbox", str(path)]
    chat = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
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


async def test_a_revoked_device_stops_and_says_so(address: str) -> None:
    """It does not come back by itself, and nobody waits for ever."""
    async with device(address, "ann") as (ann, heard):
        conversation = await group(ann)
        await ann.send(conversation, "still here")
        await ann.rest.call("DELETE", f"/devices/{ann.core.device}")
        ended = await heard.until_ended()
        assert ended.retry_in is None
        assert "revoked" in ended.reason
        with pytest.raises(ClosedError, match="revoked"):
            await ann.send(conversation, "too late")


async def test_a_store_goes_on_with_no_other_device_of_its_user(
    address: str, site: Serving, tmp_path: Path
) -> None:
    """Its keys are the device's: what is stored, and was not answered, would be posted twice."""
    path = tmp_path / "ann.sqlite"
    async with line_to(site) as (proxy, url), device(address, "ann") as (ann, heard):
        client, conversation = await impatient(url, outbox=path)
        async with client:
            await until(client, Connected)
            proxy.impose({"down": Rule(stuck=True)})
            client.send(conversation, "once")
            assert await heard.until(conversation, 1) == ["once"]
        other = Client(address, token=ann.token, outbox=path)
        async with other, asyncio.timeout(PATIENCE_S):
            with suppress(ClosedError):
                await other.settled()
            assert "another device" in other.core.reason, await stored(ann, conversation)


async def test_a_wrong_password_and_an_absent_server_are_told_in_one_line(address: str) -> None:
    """No traceback is needed to mend either."""
    with pytest.raises(ApiError) as caught:
        await Client.log_in(address, username="ann", password="wrong")
    assert caught.value.status == 401
    with pytest.raises(ApiError, match="is the server running"):
        await Client.log_in("http://127.0.0.1:9", username="ann", password="lockstep")


@asynccontextmanager
async def line_to(site: Serving) -> AsyncIterator[tuple[Proxy, str]]:
    """A line to the site, and the address at its end."""
    proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", site.port))
    async with proxy.serving():
        yield proxy, f"http://127.0.0.1:{proxy.port}"


async def impatient(url: str, *, outbox: Path | None = None) -> tuple[Client, str]:
    """A device of ann's that gives a silent line up after 3 s, and a conversation."""
    rest = await Rest(url=url).log_in("ann", "lockstep")
    token = await rest.register(installation=uuid4().hex, name="impatient")
    patience = Patience(silence_ms=1_000, answer_ms=500, pong_ms=2_000)
    client = Client(url, token=token, outbox=outbox, codec=JSON, patience=patience)
    return client, await group(client)


async def until(client: Client, kind: type[AnyHappening]) -> None:
    """Listen until this happens."""
    async for happening in client:
        if isinstance(happening, kind):
            return


async def kept(client: Client) -> list[str]:
    """The keys of what its store has for the server."""
    saved = await client._stored(client.store.load)
    return [request.client_id for _, request in saved.outbox]


async def test_what_was_written_offline_leaves_by_a_line_too_slow_for_all_of_it_at_once(
    address: str, site: Serving
) -> None:
    """The server answers when a WebSocket message is whole; given up before that, all would begin again, for ever."""
    async with line_to(site) as (proxy, url):
        client, conversation = await impatient(url)
        for number in range(250):
            client.send(conversation, f"{number:04} {'x' * 1_000}")
        proxy.impose({"up": Rule(bytes_per_s=50_000)})
        async with asyncio.timeout(PATIENCE_S), client:
            await client.settled()
        told = [type(one) async for one in client]
        assert (told.count(Connected), told.count(Disconnected)) == (1, 0)


async def test_a_line_that_takes_nothing_holds_up_neither_the_store_nor_the_end(
    address: str, site: Serving, tmp_path: Path
) -> None:
    """Who is killed meanwhile would lose what was asked; who ends would wait until TCP gives the line up."""
    async with line_to(site) as (proxy, url), asyncio.timeout(PATIENCE_S) as patience:
        client, conversation = await impatient(url, outbox=tmp_path / "ann.sqlite")
        async with client:
            await until(client, Connected)
            proxy.impose({"up": Rule(stuck=True)})
            for _ in range(17):  # 6 MB in JSON: more than the kernel keeps on their way
                client.send(conversation, "\x01" * 60_000)
            await scene.eventually(lambda: proxy.effects["stuck"])
            client.send(conversation, "meanwhile", client_id="late")
            async with asyncio.timeout(2):
                while "late" not in await kept(client):
                    pass
            await until(client, Disconnected)
            patience.reschedule(asyncio.get_running_loop().time() + 5)
