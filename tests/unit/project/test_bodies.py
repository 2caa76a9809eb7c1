"""Bodies of requests: bounded in bytes and in silence, whatever is behind."""

import asyncio
import json
import tempfile
import tracemalloc
from collections.abc import Mapping
from time import monotonic
from typing import Any, cast

import pytest
from django.core.handlers.asgi import ASGIHandler

from messaging.protocol.errors import Refusal
from project import bodies
from project.bodies import Bodies

MEBIBYTE = 1_048_576
MOST = 26_214_400


class Exchange:
    """One request: its events in, what came out, and what the application behind was given."""

    def __init__(self, *parts: bytes, path: str = "/api/files", silent: bool = False) -> None:
        self.scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        self.refusal: Refusal | None = None
        last = len(parts) - 1
        self._events = [
            {"type": "http.request", "body": part, "more_body": silent or n < last}
            for n, part in enumerate(parts)
        ]
        self.given = 0
        self.whole = False
        self.sent: list[Mapping[str, Any]] = []
        self.left = 0

    async def receive(self) -> Mapping[str, Any]:
        if not self._events:
            await asyncio.Event().wait()
        return self._events.pop(0)

    async def send(self, event: Mapping[str, Any]) -> None:
        self.sent.append(event)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """As Django does: all of the body, then an answer; nothing for who has gone."""
        while (event := await receive())["type"] == "http.request":
            self.given += len(event["body"])
            if not event["more_body"]:
                self.whole = True
                await send({"type": "http.response.start", "status": 201, "headers": []})
                return

    async def run(self, **headers: str) -> "Exchange":
        said = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        self.scope["headers"] = list(said.items())
        judged = Bodies(self.app, lambda header: self.refusal)
        await judged(self.scope, self.receive, self.send)
        self.left = len(self._events)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def told(self) -> dict[str, Any]:
        return dict(json.loads(self.sent[1]["body"]))


async def test_a_body_within_its_bound_passes() -> None:
    found = await Exchange(b"a" * MOST, b"b" * 1000).run()
    assert (found.status, found.given, found.whole) == (201, MOST + 1000, True)


async def test_a_body_that_says_it_is_too_large_never_reaches_the_application() -> None:
    found = await Exchange(b"a" * 10, b"b" * 10).run(content_length=str(2 * MOST))
    assert (found.status, found.given, found.left) == (413, 0, 0)
    assert found.told["code"] == "file_too_large"
    assert found.told["message"].startswith(f"A file has at most {MOST} bytes;")
    assert (b"Connection", b"close") in found.sent[0]["headers"]


async def test_who_asks_first_need_not_send_at_all() -> None:
    found = await Exchange(b"a" * 10).run(content_length=str(2 * MOST), expect="100-continue")
    assert (found.status, found.left) == (413, 1)


async def test_a_body_without_a_length_is_cut_off_where_it_becomes_too_large() -> None:
    found = await Exchange(*[b"a" * MEBIBYTE] * 60).run()
    assert (found.status, found.whole, found.left) == (413, False, 0)
    assert found.given <= MOST + bodies.ENVELOPE_BYTES


async def test_a_body_that_is_all_there_is_refused_without_waiting_for_more() -> None:
    async with asyncio.timeout(bodies.DROP_S / 2):
        found = await Exchange(b"a" * (MEBIBYTE + 1), path="/api/login").run()
    assert found.status == 413


async def test_other_routes_take_less() -> None:
    found = await Exchange(b"a" * (MEBIBYTE + 1), path="/api/login").run()
    assert (found.status, found.told["code"]) == (413, "too_large")
    assert (await Exchange(b"a" * MEBIBYTE, path="/api/login").run()).status == 201


async def test_a_client_that_falls_silent_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SILENCE_S", 0.01)
    found = await Exchange(b"a" * 10, silent=True).run(content_length="100")
    assert (found.status, found.told["code"], found.whole) == (408, "too_slow", False)
    assert not found.told["message"].count("\n")


async def test_an_upload_that_drips_in_is_not_taken_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A byte now and then is never silent for long, and kept a connection for a year."""
    monkeypatch.setattr(bodies, "SILENCE_S", 0.05)
    drops = Exchange(*[b"a"] * 10_000)
    began, receive = monotonic(), drops.receive

    async def slowly() -> Mapping[str, Any]:
        await asyncio.sleep(0.002)
        return await receive()

    monkeypatch.setattr(drops, "receive", slowly)
    found = await drops.run()
    assert (found.status, found.told["code"], found.whole) == (408, "too_slow", False)
    assert monotonic() - began < 5


@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")  # Django's own
async def test_a_disk_without_room_for_an_upload_is_told_in_json(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Django keeps an upload in a temporary file before it looks at the request."""
    exchange = Exchange(*[b"a" * MEBIBYTE] * 5)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await ASGIHandler.read_body(cast("Any", None), receive)

    monkeypatch.setattr(exchange, "app", app)
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    found = await exchange.run()
    assert (found.status, found.told["code"], found.left) == (503, "files_unavailable", 0)
    assert "can't be kept" in caplog.text
    caplog.clear()  # its stack trace holds that file


async def test_an_answer_that_breaks_off_is_not_followed_by_another(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the disk of a download fails in its middle: the request was kept well enough."""
    exchange = Exchange(b"a")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("Input/output error")

    monkeypatch.setattr(exchange, "app", app)
    with pytest.raises(OSError, match="Input/output error"):
        await exchange.run()
    assert [event["type"] for event in exchange.sent] == ["http.response.start"]
    assert caplog.text == ""


async def test_nothing_is_kept_of_a_stranger_s_upload() -> None:
    """25 MiB of each of a thousand strangers would fill the disk."""
    exchange = Exchange(b"a" * 10, b"b" * 10)
    exchange.refusal = Refusal.UNAUTHORIZED
    found = await exchange.run()
    assert (found.status, found.told["code"], found.given, found.left) == (
        401,
        "unauthorized",
        0,
        0,
    )


async def test_whoever_says_put_to_where_files_are_posted_has_no_more_kept_than_others() -> None:
    """25 MiB of each of a thousand strangers, whom nobody asked for a token, would fill the disk."""
    exchange = Exchange(*[b"a" * 65_536] * 17)
    exchange.scope["method"] = "PUT"
    exchange.refusal = Refusal.UNAUTHORIZED
    found = await exchange.run()
    assert (found.status, found.told["code"], found.given) == (413, "too_large", MEBIBYTE)


async def test_only_uploads_are_judged_by_their_head() -> None:
    exchange = Exchange(b"{}", path="/api/login")
    exchange.refusal = Refusal.UNAUTHORIZED
    assert (await exchange.run()).status == 201


async def test_of_an_upload_on_its_way_memory_holds_next_to_nothing() -> None:
    """2.5 MiB of each were held, and how many one user has on their way is not bounded."""
    tracemalloc.start()
    held, last = list[int](), 40  # pieces of 64 KiB: 2.5 MiB

    async def receive() -> dict[str, Any]:
        held.append(tracemalloc.get_traced_memory()[0])
        more = len(held) < last
        return {"type": "http.request", "body": bytes(65_536), "more_body": more}

    try:
        (await ASGIHandler.read_body(cast("Any", None), receive)).close()
    finally:
        tracemalloc.stop()
    assert held[-1] - held[0] < 500_000
