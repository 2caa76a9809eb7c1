"""Linked devices on a real site: with a code from A, B is in, and the code is nowhere to be found."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from messaging.client import ApiError, Client, Rest
from messaging.protocol.client.happenings import Applied
from project import services
from tests.acceptance.site import ROOT, Serving
from tests.scene import eventually

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0  # for what takes milliseconds on an idle machine
LOGIN = {"username": "lin", "password": "lockstep"}
LIN = """
    INSERT INTO presence_user (username, password)
    SELECT 'lin', password FROM presence_user WHERE username = 'alice'
"""  # with the demo user's password


@pytest.fixture(scope="module")
def address(site: Serving) -> str:
    """The site's, which then also has Lin: what she does never shows on Alice's page."""
    with psycopg.connect(services.locate(site.directory).database_url, autocommit=True) as sql:
        sql.execute(LIN)
    return site.address


async def linked(address: str, code: str, *, name: str) -> Client:
    token = await Rest(url=address).link(code, installation=name, name=name)
    return Client(address, token=token)


async def until_heard(client: Client, conversation: str, body: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async for happening in client:
            if (
                isinstance(happening, Applied)
                and happening.conversation == conversation
                and body in {message.body for message in happening.messages}
            ):
                return


async def until_shown(client: Client, states: dict[str, str]) -> None:
    """Until the user's own presence tells this of these devices."""

    def told() -> dict[str, str]:
        own = client.presence.get(str(client.core.user))
        shown = {one.device: str(one.state) for one in own.devices} if own else {}
        return {device: shown.get(device, "") for device in states}

    await eventually(lambda: told() == states, within=PATIENCE_S, what=told)


async def devices(client: Client) -> dict[str, str]:
    found: Any = await client.rest.call("GET", "/devices")
    return {one["device"]: one["name"] for one in found["devices"] if one["revoked"] is None}


async def own_room(client: Client) -> str:
    """The user's conversation with themselves."""
    found: Any = await client.rest.call("GET", "/conversations?limit=100")
    (room,) = (one for one in found["conversations"] if one["kind"] == "self")
    return str(room["conversation"])


async def test_what_a_linked_device_sends_reaches_the_one_that_vouched_for_it_and_both_list_both(
    address: str,
) -> None:
    async with await Client.log_in(address, **LOGIN, name="A") as a:
        room = await own_room(a)
        async with await linked(address, (await a.rest.link_code()).code, name="B") as b:
            await b.send(room, "from B")
            await until_heard(a, room, "from B")
            await a.send(room, "from A")
            await until_heard(b, room, "from A")
            await until_shown(a, {str(a.core.device): "online", str(b.core.device): "online"})
            assert (b.core.user, b.core.device != a.core.device) == (a.core.user, True)
            listed = await devices(a)
            assert listed == await devices(b)
            assert (listed[str(a.core.device)], listed[str(b.core.device)]) == ("A", "B")


async def test_one_code_is_one_device_however_many_come_at_once(address: str) -> None:
    async with await Client.log_in(address, **LOGIN) as a:
        before = await devices(a)
        code = (await a.rest.link_code()).code
        tried = await asyncio.gather(
            *(Rest(url=address).link(code, installation=f"one of {n}", name="B") for n in range(8)),
            return_exceptions=True,
        )
        refused = [one for one in tried if isinstance(one, ApiError)]
        assert {(one.status, one.code) for one in refused} == {(404, "no_such_link_code")}
        assert (len(refused), len(await devices(a))) == (7, len(before) + 1)


async def test_a_token_is_replaced_under_an_open_session_and_the_old_one_opens_no_other(
    address: str,
) -> None:
    async with await Client.log_in(address, **LOGIN) as a:
        room = await own_room(a)
        await a.send(room, "before")
        fresh = await a.rest.rotate_token()
        await a.send(room, "after")
        with pytest.raises(ApiError, match="unauthorized"):
            await a.rest.call("GET", "/devices")
        async with Client(address, token=fresh) as again:
            await again.send(room, "with the new one")
            assert again.core.device == a.core.device


async def test_the_command_line_links_keeps_the_token_to_itself_and_leaves_no_code_behind(
    address: str, site: Serving, tmp_path: Path
) -> None:
    offered = await chat(address, "--username", "lin", "--password", "lockstep", "--offer-link")
    code, qr = offered.splitlines()
    token = tmp_path / "token"
    async with await Client.log_in(address, **LOGIN) as a:
        room = await own_room(a)
        common = ("--token", str(token), "--outbox", str(tmp_path / "b.box"))
        common = (*common, "--conversation", room)
        printed = await chat("http://127.0.0.1:9", "--link", qr, *common, says="first\n")
        assert printed.endswith("\tfirst\n")
        assert token.stat().st_mode & 0o777 == 0o600
        printed = await chat(address, *common, says="unmistakable\n")
        assert printed.endswith("\tunmistakable\n")
        await until_heard(a, room, "unmistakable")
    assert found_in(site, "unmistakable")
    assert found_in(site, code) == []
    assert found_in(site, code.replace("-", "")) == []
    assert found_in(site, token.read_text().strip()) == []


def found_in(site: Serving, text: str) -> list[Path]:
    """The files of the site (logs, tables, write-ahead log) that hold this."""
    places = site.directory, services.locate(site.directory).home.directory
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return [path for path in files if _holds(path, text)]


def _holds(path: Path, text: str) -> bool:
    with suppress(FileNotFoundError):  # PostgreSQL goes on working
        return text.encode() in path.read_bytes()
    return False


async def test_a_wrong_code_and_no_way_in_are_told_in_one_line(
    address: str, tmp_path: Path
) -> None:
    wrong = await chat(address, "--link", "0000-0000", fails=1)
    assert re.fullmatch(r"no_such_link_code: [^\n]+\n", wrong)
    (empty := tmp_path / "token").touch()
    assert "link this device again" in await chat(address, "--token", str(empty), fails=1)
    assert "give --username" in await chat(address, fails=2)
    assert "A link looks like" in await chat(address, "--link", "https://x", fails=2)


async def chat(address: str, *arguments: str, says: str = "", fails: int = 0) -> str:
    """Run the command line client. Returns what it prints, or what it complains about if it is to fail."""
    made = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "messaging.client", "--url", address, *arguments),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, complaints = await made.communicate(says.encode())
    assert made.returncode == fails, complaints.decode()
    return (complaints if fails else out).decode()
