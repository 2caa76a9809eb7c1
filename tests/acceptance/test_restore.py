"""A disaster and its end: everything killed, the disk lost, the backup restored, and every device right again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from selenium.webdriver import Chrome

from messaging.client import Client
from project import postgres, services, valkey
from tests import scene, server
from tests.acceptance import page
from tests.acceptance.page import Desk
from tests.acceptance.site import ROOT, Serving, serving
from tests.device import Device
from tests.frozen import cluster
from tests.scene import Room, eventually

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.timeout(300)]

PATIENCE_S = 60.0  # clients come back after up to 10 s each
FILE = b"the plan" * 1000


def manage(directory: Path, *command: str) -> str:
    own = {"LOCKSTEP_DATA": str(directory), "DATABASE_URL": "", "REDIS_URL": ""}
    result = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=os.environ | own,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def destroy(site: Serving) -> None:
    """kill -9 of everything; what the disk had of rows and files is lost."""
    home = services.locate(site.directory).home
    numbers = [*cluster(postgres.pid(home) or 0), valkey.pid(home) or 0]
    serve = psutil.Process(site.process.pid)
    dead = [serve, *serve.children(), *map(psutil.Process, numbers)]
    for process in dead:
        os.kill(process.pid, signal.SIGKILL)
    site.process.wait()
    psutil.wait_procs(dead, timeout=30)
    shutil.rmtree(home.directory / "postgres")
    shutil.rmtree(site.directory / "files")


@contextmanager
def database(directory: Path) -> Iterator[scene.Psql]:
    with psycopg.connect(services.locate(directory).database_url, autocommit=True) as sql:
        yield sql


async def shown(client: Client, room: str) -> list[str]:
    return [one.body for one in await client.messages(room) if one.kind == "text"]


@dataclass(frozen=True, kw_only=True)
class Company:
    """Devices of every kind: two Python clients and a foreign one in a room, and two on the page."""

    site: Serving
    room: Room
    ann: Client
    ben: Client
    foreign: Device
    alice: page.Device
    bob: page.Device


@asynccontextmanager
async def company(site: Serving, stores: Path, chrome: Chrome) -> AsyncIterator[Company]:
    alice, bob = Desk(chrome, site.address).open()
    with database(site.directory) as sql:
        room = scene.new_room(sql)
        foreign = Device(scene.new_seat(sql, room.first.user).token)
    async with (
        Client(site.address, token=room.first.token, outbox=stores / "ann") as ann,
        Client(site.address, token=room.second.token, outbox=stores / "ben") as ben,
    ):
        await foreign.connect(await server.dial(site.port))
        yield Company(site=site, room=room, ann=ann, ben=ben, foreign=foreign, alice=alice, bob=bob)
    assert foreign.violations == []


async def test_after_a_restore_no_device_shows_what_is_lost_and_what_waited_is_delivered_once(
    directory: Path, tmp_path: Path, own_chromium: Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PATIENCE_S", PATIENCE_S)
    backup = tmp_path / "backup"
    with serving(directory) as site:
        async with company(site, tmp_path, own_chromium) as all_of_them:
            ann, room = all_of_them.ann, all_of_them.room
            kept, once = await keep(all_of_them)
            print(manage(directory, "backup", str(backup)))
            lost = await lose(all_of_them)
            destroy(site)
            waiting = [f"waited {n}" for n in range(5)]
            handles = [ann.send(room.id, body) for body in waiting]
            all_of_them.alice.say("waited on the page")
            print(manage(directory, "restore", str(backup)))
            with serving(directory, port=site.port):
                for handle in handles:
                    await handle
                await write_anew(all_of_them, once)
                await every_device_shows([*kept, *waiting, "new"], all_of_them)
                await nothing_is_left_of(lost, all_of_them)
                assert await attached(all_of_them.ben, room) == FILE
                for pane in (all_of_them.alice, all_of_them.bob):
                    pane.shows("kept on the page", "waited on the page")
                    assert "lost on the page" not in pane.texts()
                await all_of_them.foreign.cut()


async def keep(it: Company) -> tuple[list[str], Any]:
    """What happens before the backup: messages, one with a file. Returns their bodies, and the foreign one's answer."""
    kept = [f"kept {n}" for n in range(20)]
    for body in kept:
        it.ann.send(it.room.id, body)
    plan = await it.ann.rest.upload(FILE, name="plan.txt")
    it.ann.send(it.room.id, "plan", attachments=[plan])
    await it.ann.settled()
    once = await it.foreign.write(it.room.id, "once")
    it.alice.say("kept on the page")
    it.bob.shows("kept on the page")
    return [*kept, "plan", "once"], once


async def lose(it: Company) -> str:
    """What happens after the backup: messages, a changed one, marks, and a conversation, which it returns."""
    ann, ben, room = it.ann, it.ben, it.room
    for n in range(30):
        ann.send(room.id, f"lost {n}")
    await ann.settled()
    (first, *_) = [one for one in await ann.messages(room.id) if one.kind == "text"]
    await ann.edit(room.id, first.id, base_version=first.version, body="changed, and lost")
    about: dict[str, Any] = {
        "kind": "group",
        "title": "lost",
        "members": [{"user": room.second.user}],
    }
    group = str((await ann.rest.call("POST", "/conversations", about))["conversation"])
    await ann.send(group, "lost with its conversation")
    await eventually(lambda: group in ben.core.cursors and ben.core.cursors[group] >= 3)
    ben.read(room.id)
    it.alice.say("lost on the page")
    it.bob.shows("lost on the page")
    return group


async def write_anew(it: Company, once: Any) -> None:
    """Whoever repeats what the backup has gets its place; what is new comes behind."""
    foreign = it.foreign
    assert foreign.welcome
    await foreign.connect(await server.dial(it.site.port), epoch=foreign.welcome["epoch"])
    again = await foreign.write(it.room.id, "once")
    assert (again["message"], again["position"]) == (once["message"], once["position"])
    it.ben.send(it.room.id, "new")
    await it.ben.settled()


async def every_device_shows(expected: list[str], it: Company) -> None:
    room, foreign = it.room, it.foreign
    with database(it.site.directory) as sql:
        assert scene.bodies(sql, room.id) == expected
        last = scene.last_seq(sql, room.id)
    for client in (it.ann, it.ben):
        await eventually(
            lambda one=client: one.core.cursors.get(room.id) == last,
            within=PATIENCE_S,
            what=lambda one=client: (one.core.cursors, last),
        )
        assert await shown(client, room.id) == expected
    await foreign.reaches(room.id, last)
    assert foreign.bodies(room.id) == expected


async def nothing_is_left_of(lost: str, it: Company) -> None:
    """The database has no such conversation, so no device has it."""
    for client in (it.ann, it.ben):
        assert await shown(client, lost) == []
        assert client.core.left[lost] == 0


async def attached(client: Client, room: Room) -> bytes:
    """What came with the plan."""
    (file,) = next(one for one in await client.messages(room.id) if one.body == "plan").attachments
    return await client.rest.download(file)
