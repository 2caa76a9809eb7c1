"""A disaster and its end: everything killed, the disk lost, the backup restored, and every device right again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


async def test_after_a_restore_no_device_shows_what_is_lost_and_what_waited_is_delivered_once(
    directory: Path, tmp_path: Path, own_chromium: Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PATIENCE_S", PATIENCE_S)
    backup = tmp_path / "backup"
    with serving(directory) as site:
        desk = Desk(own_chromium, site.address)
        alice, bob = desk.open()
        with database(directory) as sql:
            room = scene.new_room(sql)
        url = site.address
        async with (
            Client(url, token=room.first.token, outbox=tmp_path / "ann") as ann,
            Client(url, token=room.second.token, outbox=tmp_path / "ben") as ben,
        ):
            with database(directory) as sql:
                foreign = Device(scene.new_seat(sql, room.first.user).token)
            await foreign.connect(await server.dial(site.port))
            kept = await keep(ann, room)
            once = await foreign.write(room.id, "once")
            kept.append("once")
            alice.say("kept on the page")
            bob.shows("kept on the page")

            print(manage(directory, "backup", str(backup)))

            lost = await lose(ann, ben, room)
            alice.say("lost on the page")
            bob.shows("lost on the page")
            destroy(site)
            waiting = [f"waited {n}" for n in range(5)]
            handles = [ann.send(room.id, body) for body in waiting]
            alice.say("waited on the page")
            print(manage(directory, "restore", str(backup)))

            with serving(directory, port=site.port):
                for handle in handles:
                    await handle
                await foreign.connect(await server.dial(site.port), epoch=foreign.welcome["epoch"])
                again = await foreign.write(room.id, "once")
                assert (again["message"], again["position"]) == (once["message"], once["position"])
                ben.send(room.id, "new")
                await ben.settled()
                expected = [*kept, *waiting, "new"]
                await every_device_shows(expected, [ann, ben], foreign, room, directory)
                for client in (ann, ben):
                    assert await shown(client, lost) == []
                    assert client.core.left[lost] == 0
                assert await attached(ben, room) == FILE
                for pane in (alice, bob):
                    pane.shows("kept on the page", "waited on the page")
                    assert "lost on the page" not in pane.texts()
                await foreign.cut()
    assert foreign.violations == []


async def keep(ann: Client, room: Room) -> list[str]:
    """What happens before the backup: messages, the last of them with a file. Returns their bodies."""
    kept = [f"kept {n}" for n in range(20)]
    for body in kept:
        ann.send(room.id, body)
    plan = await ann.rest.upload(FILE, name="plan.txt")
    ann.send(room.id, "plan", attachments=[plan])
    await ann.settled()
    return [*kept, "plan"]


async def every_device_shows(
    expected: list[str], clients: list[Client], foreign: Device, room: Room, directory: Path
) -> None:
    with database(directory) as sql:
        assert scene.bodies(sql, room.id) == expected
        last = scene.last_seq(sql, room.id)
    for client in clients:
        await eventually(
            lambda it=client: it.core.cursors.get(room.id) == last,
            within=PATIENCE_S,
            what=lambda it=client: (it.core.cursors, last),
        )
        assert await shown(client, room.id) == expected
    await foreign.reaches(room.id, last)
    assert foreign.bodies(room.id) == expected


async def attached(client: Client, room: Room) -> bytes:
    """What came with the plan."""
    (file,) = next(one for one in await client.messages(room.id) if one.body == "plan").attachments
    return await client.rest.download(file)


async def lose(ann: Client, ben: Client, room: Room) -> str:
    """What happens after the backup: messages, a changed one, marks, and a conversation, which it returns."""
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
    return group
