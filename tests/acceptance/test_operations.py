"""Behind HAProxy and under Prometheus, both real, on the files in deploy/: deploys, kills, outages, alerts.

The stack is one for all tests; each leaves it with both servers ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect

from messaging.protocol.errors import CloseCode
from presence import attempts
from project import services
from tests import minute, scene
from tests.acceptance.stack import ROOT, Stack, await_true, fetch, needed, running
from tests.device import Device
from tests.outage import without_valkey
from tests.plugin import migrated
from tests.scene import Psql, Room
from tests.server import Network

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

IDLE_S = 65.0  # HAProxy's `timeout tunnel` is 60 s
RUNBOOKS = ROOT / "docs/runbooks"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    work = tmp_path_factory.mktemp("stack")
    with migrated() as directory, running(directory, work) as it:
        yield it


@pytest.fixture
def sql(stack: Stack) -> Iterator[Psql]:
    url = services.locate(stack.directory).database_url
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def room(sql: Psql) -> Room:
    return scene.new_room(sql)


async def dial(stack: Stack) -> ClientConnection:
    return await connect(
        f"ws://127.0.0.1:{stack.proxy}/ws/",
        subprotocols=["lockstep.v1.json"],  # type: ignore[list-item]
        ping_interval=None,  # whoever keeps this socket alive, it is not the client
    )


async def enter(stack: Stack, device: Device) -> Device:
    return await device.connect(Network(await dial(stack)))


def holder(stack: Stack, sql: Psql, device: str) -> str:
    """The name of the server that holds the device's session."""
    name = scene.one(
        sql,
        "SELECT n.name FROM presence_connection c JOIN presence_node n ON n.id = c.node_id"
        " WHERE c.device_id = %s ORDER BY c.since DESC LIMIT 1",  # a dead server's stay for a lease
        device,
    )
    pid = int(str(name).rpartition(":")[2])
    return next(app.name for app in stack.apps.values() if app.worker.pid == pid)


async def write(device: Device, room: Room, word: str) -> None:
    """Send and have it confirmed."""
    await device.say({"type": "send", "conversation": room.id, "client_id": word, "body": word})
    await scene.eventually(
        lambda: any(f["type"] == "ok" and f.get("client_id") == word for f in device.heard)
    )


async def test_a_deploy_moves_devices_without_a_refusal(
    stack: Stack, sql: Psql, room: Room
) -> None:
    """Told to end, a server says so, serves on, gets nobody new, and then sends its devices away."""
    ann, bob = Device(room.first.token), Device(room.second.token)
    await enter(stack, ann)
    leaving = stack.apps[holder(stack, sql, room.first.device)]
    assert leaving.process is not None
    leaving.process.terminate()
    await asyncio.to_thread(await_true, lambda: stack.up() == set(stack.apps) - {leaving.name})
    draining = json.loads(fetch(f"{leaving.url}/readyz")[1])
    assert (draining["draining"], draining["missing"]) == (True, {})
    assert fetch(f"{leaving.url}/healthz")[0] == 200
    await write(ann, room, "served while it leaves")
    await enter(stack, bob)
    assert holder(stack, sql, room.second.device) != leaving.name

    assert await ann.ended() == CloseCode.RESTART
    await enter(stack, ann)
    await write(ann, room, "served elsewhere")
    await bob.reaches(room.id, scene.last_seq(sql, room.id))
    assert bob.bodies(room.id) == ["served while it leaves", "served elsewhere"]
    for device in (ann, bob):
        await device.cut()
        assert device.violations == []
    await asyncio.to_thread(leaving.process.wait, 30)
    assert leaving.process.returncode == 0
    leaving.start()
    await asyncio.to_thread(await_true, stack.whole)


async def test_who_loses_their_server_is_let_in_by_the_other_at_the_first_try(
    stack: Stack, sql: Psql, room: Room
) -> None:
    """kill -9: HAProxy need not have noticed, a connection that is refused goes to the next server."""
    ann = await enter(stack, Device(room.first.token))
    await write(ann, room, "before")
    killed = stack.apps[holder(stack, sql, room.first.device)]
    supervisor, worker = killed.process, killed.worker
    assert supervisor is not None
    supervisor.send_signal(signal.SIGSTOP)  # it would start another one on the same port
    try:
        worker.kill()
        await ann.ended()
        await enter(stack, ann)
        await write(ann, room, "after")
        assert holder(stack, sql, room.first.device) != killed.name
    finally:
        supervisor.send_signal(signal.SIGCONT)
    assert scene.bodies(sql, room.id) == ["before", "after"]
    await ann.cut()
    assert ann.violations == []
    await asyncio.to_thread(await_true, stack.whole)


async def test_without_valkey_nobody_is_ready_and_everybody_is_served(
    stack: Stack, sql: Psql, room: Room
) -> None:
    """All lack the same: HAProxy sends devices to whoever lives, and changes come from the database."""
    with without_valkey(stack.directory):
        await asyncio.to_thread(await_true, lambda: not stack.up())
        answer = json.loads(fetch(f"{stack.apps['app1'].url}/readyz")[1])
        assert set(answer["missing"]) == {"bus"}
        ann = await enter(stack, Device(room.first.token))
        bob = await enter(stack, Device(room.second.token))
        await write(ann, room, "without a bus")
        await bob.reaches(room.id, scene.last_seq(sql, room.id))
        await ann.cut()
        await bob.cut()
    await asyncio.to_thread(await_true, stack.whole)


def test_guesses_are_counted_by_the_address_that_the_proxy_saw(stack: Stack) -> None:
    """Neither by the proxy's own, which everybody shares, nor by one that the client made up."""

    def tried(before: int) -> tuple[list[int], int, int]:
        one, another = f"127.0.{before}.2", f"127.0.{before}.3"
        tries = [guess(stack, one) for _ in range(2 * attempts.FAILURES)]
        return tries, guess(stack, one, claimed="203.0.113.1"), guess(stack, another)

    tries, claimed, elsewhere = minute.within_one(tried)
    assert tries[: attempts.FAILURES] == [404] * attempts.FAILURES
    assert (tries[-1], claimed, elsewhere) == (429, 429, 404)


def guess(stack: Stack, address: str, *, claimed: str | None = None) -> int:
    """Try a wrong link code from this address of the machine."""
    client = http.client.HTTPConnection(
        "127.0.0.1", stack.proxy, source_address=(address, 0), timeout=30
    )
    headers = {"Content-Type": "application/json"}
    if claimed is not None:
        headers["X-Forwarded-For"] = claimed
    given = {"code": "AAAA-AAAA", "installation": "i", "name": "n", "platform": "p"}
    with contextlib.closing(client):
        client.request("POST", "/api/devices/link", json.dumps(given), headers)
        return client.getresponse().status


@pytest.mark.parametrize("path", ["metrics", "healthz", "readyz", "%72eadyz"])
def test_what_is_for_operators_is_not_reachable_through_the_proxy(stack: Stack, path: str) -> None:
    assert fetch(f"{stack.url}/{path}")[0] == 404


def test_prometheus_knows_whatever_the_dashboard_and_the_alerts_ask_for(stack: Stack) -> None:
    await_true(lambda: len(stack.ask('up{job="lockstep"} == 1')) == 2)
    await_true(lambda: stack.ask("haproxy_backend_active_servers"))
    for expression in dashboard_queries():
        stack.ask(expression)
    known = json.loads(fetch(f"{stack.prometheus}/api/v1/label/__name__/values")[1])["data"]
    assert {"lockstep_write_seconds_bucket", "lockstep_lease_age_seconds"} <= set(known)
    rules = json.loads(fetch(f"{stack.prometheus}/api/v1/rules")[1])["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def dashboard_queries() -> list[str]:
    path = ROOT / "deploy/grafana/dashboards/lockstep.json"
    panels = json.loads(path.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [expression.replace("$__rate_interval", "1m") for expression in found]


def test_every_alert_fires_on_what_it_is_for_and_none_while_all_is_well() -> None:
    """By Prometheus' own tool, on made-up series: a day of growing memory can't be waited for."""
    tests = ROOT / "tests/acceptance/alerts_test.yml"
    ran = subprocess.run([needed("promtool"), "test", "rules", str(tests)], capture_output=True, text=True, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "deploy/alerts.yml").read_text())
    fired = re.findall(r'alertname="(\w+)"', tests.read_text())
    assert set(alerts) == set(fired)


async def test_a_server_that_is_gone_raises_an_alarm_and_silent_sockets_outlive_everything(
    stack: Stack, sql: Psql, room: Room
) -> None:
    """The alarm ends when the server is back. HAProxy cuts what is silent for 60 s; our pings keep it open."""
    began = time.monotonic()
    socket = await idle_on(stack, sql, room, "app1")
    gone = stack.apps["app2"]
    await asyncio.to_thread(gone.stop)
    await asyncio.to_thread(await_true, lambda: stack.alerts().get("LockstepDown") == "firing")
    gone.start()
    await asyncio.to_thread(await_true, lambda: "LockstepDown" not in stack.alerts())
    await asyncio.to_thread(await_true, stack.whole)
    await asyncio.sleep(max(0.0, IDLE_S - (time.monotonic() - began)))
    await socket.send(json.dumps({"type": "ping", "ref": "still here"}))
    async with asyncio.timeout(scene.PATIENCE_S):
        while '"still here"' not in str(await socket.recv()):
            pass
    await socket.close()


async def idle_on(stack: Stack, sql: Psql, room: Room, name: str) -> ClientConnection:
    """A session on this server; those that came to the other one are closed."""
    others: list[ClientConnection] = []
    while True:
        socket = await dial(stack)
        await socket.send(json.dumps({"type": "hello", "token": room.first.token}))
        assert json.loads(await socket.recv())
        if holder(stack, sql, room.first.device) == name:
            for other in others:
                await other.close()
            return socket
        others.append(socket)  # it stays, so that the next one goes to the other server


def run_blocks(page: Path) -> list[str]:
    """The commands of a runbook."""
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(), flags=re.M | re.S)


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_every_command_of_a_runbook_runs(stack: Stack, page: Path) -> None:
    """Each by itself, on this stack, as the page says that they are to be run."""
    places = services.locate(stack.directory)
    own = {
        "SERVER": stack.apps["app1"].url,
        "HAPROXY": stack.operators,
        "PROMETHEUS": stack.prometheus,
        "DATABASE_URL": places.database_url,
        "REDIS_URL": places.redis_url,
        "VALKEY": f"redis-cli -s {urlsplit(places.redis_url).path}",
        "LOCKSTEP_DATA": str(stack.directory),
        "LOG": str(stack.apps["app1"].log),
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
    }
    for command in run_blocks(page):
        ran = subprocess.run(
            ["sh", "-euc", command], cwd=ROOT, env=os.environ | own, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"


async def test_the_log_is_lines_of_json_without_tokens_and_bodies(
    stack: Stack, sql: Psql, room: Room
) -> None:
    """Of everything that happened to the site here; what `serve` itself prints are two lines of text."""
    ann = await enter(stack, Device(room.first.token))
    await write(ann, room, "meet me behind the mill")
    scene.revoke(sql, room.first.device)
    await ann.ended()
    await scene.eventually(lambda: any(room.first.device in app.log.read_text() for app in stack.apps.values()))  # fmt: skip
    lines = [line for app in stack.apps.values() for line in app.log.read_text().splitlines()]
    records = [json.loads(line) for line in lines if not line.startswith(("Lockstep serves", "  psql"))]  # fmt: skip
    (closed,) = [one for one in records if one.get("device") == room.first.device]
    assert closed["message"] == "a session was closed: revoked"
    assert closed["session"]
    assert {"time", "level", "logger", "process", "message"} <= set.intersection(*map(set, records))
    for secret in (room.first.token, "mill", "served while it leaves"):
        assert secret not in "".join(lines)
