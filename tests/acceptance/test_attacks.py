"""Attacks on a real server that no table of answers shows: at once, malformed, misnamed."""

from __future__ import annotations

import http.client
import json
import select
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from presence import attempts
from project.addresses import POOL
from project.gate import CALLS
from tests import minute, scene
from tests.acceptance.world import Answer, World
from tests.integration.conftest import shared_database  # noqa: F401  (a fixture)
from tests.server import Server

pytestmark = [pytest.mark.django_db, pytest.mark.long]
DEEP = 100_000
MALFORMED = (
    *("[" * DEEP, '{"a":' * DEEP, "9" * DEEP, f'{{"title":{"9" * 5_000}}}', '{"title":NaN}'),
    *(
        '{"title":Infinity}',
        '{"title":1e999999}',
        "null",
        "[]",
        '"x"',
        "\x00",
        "{",
        '{"title":"\\ud800"}',
    ),
    *('{"title":"\\u0000"}', '{"title":["a"]}', '{"members":{"a":1}}', '{"members":[[[]]]}'),
)
NAMES = (
    *(
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/passwd",
        'a"; filename="b.html',
        "a\u202egpj.exe",
    ),
    *("x" * 300, "é\u0301\u200d.txt", "CON", ".", "a%0d%0aSet-Cookie: a=b.txt"),
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacks") / "serve.log"


@pytest.fixture(scope="module")
def world(
    shared_database: None,  # noqa: F811
    redis_url: str,
    django_db_blocker: Any,
    log: Path,
) -> Iterator[World]:
    cache.clear()  # other tests may have guessed too often from this address
    own = {"DATABASE_URL": scene.database_url(), "REDIS_URL": redis_url}
    server = Server("uvicorn", own, log=log)
    try:
        with django_db_blocker.unblock(), scene.connect() as psql:
            yield World(psql, server.port)
    finally:
        server.stop()


def at_once(world: World, path: str, bodies: list[dict[str, str]]) -> list[Answer]:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: world.ask("nobody", "POST", path, body), bodies))


def test_of_fifty_who_present_one_code_at_once_one_is_let_in(world: World) -> None:
    code = world.new_code()
    bodies = [{"code": code, "installation": str(uuid4())} for _ in range(50)]
    found = Counter(answer.status for answer in at_once(world, "/api/devices/link", bodies))
    assert found[200] == 1
    assert set(found) <= {200, 404, 429}


def test_of_forty_passwords_tried_at_once_ten_are_looked_at(world: World) -> None:
    def tried(before: int) -> Counter[int]:
        bodies = [{"username": f"eve{before}", "password": f"guess {n}"} for n in range(40)]
        return Counter(answer.status for answer in at_once(world, "/api/login", bodies))

    found = minute.within_one(tried)
    assert found[401] <= attempts.FAILURES
    assert found[401] + found[429] == 40


def test_no_body_is_an_error_of_the_server(world: World) -> None:
    for body in MALFORMED:
        for route in (
            "/api/conversations",
            f"/api/conversations/{world.room.id}/messages",
            "/api/login",
        ):
            answer = send_raw(world, route, body)
            assert 400 <= answer.status < 500, (route, body[:50], answer.status)
            assert answer.json["code"], answer.body


def send_raw(world: World, route: str, body: str) -> Answer:
    line = http.client.HTTPConnection("127.0.0.1", world.port, timeout=60)
    token = world.seats["phone"].token
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    line.request("POST", route, body.encode(errors="surrogatepass"), headers)
    answer = line.getresponse()
    found = Answer(status=answer.status, body=answer.read(), headers=answer.headers)
    line.close()
    return found


def test_a_key_that_comes_twice_counts_once(world: World) -> None:
    """The last one, for the judge as for whoever carries it out: there is one parser."""
    answer = send_raw(world, "/api/conversations", '{"title":"one","title":"two"}')
    assert (answer.status, answer.json["title"]) == (201, "two")


def test_no_name_of_a_file_leads_anywhere_or_adds_a_header(world: World) -> None:
    for name in NAMES:
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        uploaded = world.ask(
            "phone",
            "POST",
            "/api/files",
            f"--b\r\n{head}\r\n\r\n{{}}\r\n--b--\r\n".encode().decode("latin-1"),
        )
        assert uploaded.status in (201, 422), (name, uploaded.body)
        if uploaded.status == 201:
            got = world.ask("phone", "GET", f"/api/files/{uploaded.json['id']}")
            told = got.headers.get_all("Content-Disposition") or []
            assert len(told) == 1, name
            assert told[0].startswith("attachment"), name
            assert not set(told[0]) & set("\r\n\u202e\x00"), name
            assert "/" not in uploaded.json["name"], name
            assert not got.headers.get_all("Set-Cookie"), name


def test_a_host_that_is_not_ours_is_not_served(world: World) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "a b", ""):
        assert world.ask("phone", "GET", "/api/devices", Host=host).status == 400


def test_a_page_of_another_site_and_a_socket_elsewhere_are_refused(world: World) -> None:
    url = f"ws://127.0.0.1:{world.port}"
    with connect(f"{url}/ws/", origin="https://evil.example") as socket:  # type: ignore[arg-type]
        assert json.loads(socket.recv(timeout=20))["reason"] == "origin"
    with pytest.raises(InvalidStatus, match="403"), connect(f"{url}/nowhere"):
        pass


def test_none_of_this_is_an_error_in_the_log(world: World, log: Path) -> None:
    said = log.read_text()
    assert "Traceback" not in said, said[-3_000:]
    assert " ERROR " not in said, said[-3_000:]


def test_strangers_who_never_say_the_rest_of_their_requests_keep_nobody_out(world: World) -> None:
    """As many as there are places; one of them is told why it makes place."""
    head = b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    with ExitStack() as sockets:
        strangers = [
            sockets.enter_context(socket.create_connection(("127.0.0.1", world.port), timeout=20))
            for _ in range(CALLS)
        ]
        for stranger in strangers:
            stranger.sendall(head)
        while not (told := select.select(strangers, [], [], 0)[0]):  # until all heads are read
            assert world.ask("phone", "GET", "/api/devices").status == 200
        assert told[0].recv(100).startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize("count", [POOL["max_size"], CALLS])
def test_who_does_not_read_keeps_neither_a_place_nor_a_connection_from_others(
    world: World, count: int
) -> None:
    """Eight unread pages held all of the pool for a minute, a hundred and twenty-eight all places."""
    for _ in range(4):
        scene.insert(world.sql, world.room.id, "x" * 60_000)
    path, token = f"/api/conversations/{world.room.id}/messages", world.seats["phone"].token
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    with ExitStack() as sockets:
        deaf = {sockets.enter_context(socket.socket()) for _ in range(count)}
        for one in deaf:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            one.connect(("127.0.0.1", world.port))
            one.sendall(head.encode())
        while waiting := deaf - {*select.select(deaf, [], [], 0)[0]}:  # until all are answered
            select.select(waiting, [], [], scene.PATIENCE_S)
        assert world.ask("phone", "GET", "/api/devices").status == 200
