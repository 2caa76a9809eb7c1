"""A call that could only wait is refused before Django sees it; all others pass."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from messaging.overload.door import door
from messaging.overload.pressure import FEW_AT_A_TIME, NO_HISTORY
from presence import database
from project.bodies import Bodies
from project.gate import CALLS, FORMS, Gate

HISTORY = [
    ("GET", "/api/conversations/1/messages"),
    ("GET", "/api/messages/1"),
    ("GET", "/api/messages/1/receipts"),
    ("GET", "/api/users"),
]
WRITES = [("POST", "/api/conversations/1/messages"), ("PATCH", "/api/messages/1")]
OTHERS = [("GET", "/api/conversations"), ("POST", "/api/login"), ("GET", "/api/files/1")]
PAGES = [("GET", "/"), ("GET", "/api/docs"), ("GET", "/metrics"), ("GET", "/healthz")]


async def call(method: str, path: str) -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
    """The status, the body and the headers of an answer; 0 if the application itself was asked."""
    events: list[dict[str, Any]] = []

    async def app(*_: Any) -> None:
        events.append({"status": 0, "headers": []})
        events.append({"body": b"{}"})

    async def send(event: dict[str, Any]) -> None:
        events.append(event)

    scope = {"path": path, "method": method, "headers": []}
    await Gate(app)(scope, None, send)  # type: ignore[arg-type]
    return events[0]["status"], json.loads(events[1]["body"]), dict(events[0]["headers"])


@pytest.mark.parametrize(("method", "path"), [*HISTORY, *WRITES, *OTHERS])
async def test_without_a_database_every_call_is_refused(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(database.breaker, "refuses", lambda: True)
    status, said, headers = await call(method, path)
    assert (status, said["code"]) == (503, "unavailable")
    assert said["retry_after"] > 0
    assert int(headers[b"Retry-After"]) >= 1


@pytest.mark.parametrize(("method", "path"), PAGES)
async def test_pages_that_need_no_database_pass(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setattr(database.breaker, "refuses", lambda: True)
    assert (await call(method, path))[0] == 0


@pytest.mark.parametrize(("method", "path"), HISTORY)
async def test_history_waits_while_the_process_is_too_busy(method: str, path: str) -> None:
    door().pressure.level = NO_HISTORY
    status, said, _ = await call(method, path)
    assert (status, said["code"]) == (429, "overloaded")
    assert said["retry_after"] > 0


@pytest.mark.parametrize(("method", "path"), [*WRITES, *OTHERS])
async def test_all_else_does_not(method: str, path: str) -> None:
    door().pressure.level = NO_HISTORY
    assert (await call(method, path))[0] == 0


async def test_history_passes_while_only_new_connections_are_refused() -> None:
    door().pressure.level = FEW_AT_A_TIME
    assert (await call("GET", "/api/conversations/1/messages"))[0] == 0


async def test_calls_beyond_so_many_at_a_time_are_refused_until_one_is_answered() -> None:
    """Each may hold a body of 1 MiB. Files take long, and are none of them."""
    go_on, statuses = asyncio.Event(), list[int]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await go_on.wait()

    async def send(event: Any) -> None:
        statuses.append(event.get("status", 0))

    gate = Gate(app)

    def call(path: str) -> asyncio.Task[None]:
        scope = {"path": path, "method": "GET", "headers": []}
        return asyncio.create_task(gate(scope, receive, send))

    calls = [call("/api/files/1") for _ in range(3)]
    calls += [call("/api/conversations") for _ in range(CALLS + 1)]
    await asyncio.sleep(0)
    assert 429 in statuses
    assert sum(task.done() for task in calls) == 1
    go_on.set()
    await asyncio.gather(*calls)
    statuses.clear()
    await call("/api/conversations")
    assert statuses == []


class Strangers:
    """Calls of whose bodies the last byte never comes, behind the application's own bounds."""

    def __init__(self, path: str = "/api/login") -> None:
        self.path = path
        self.answers: list[list[dict[str, Any]]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.asked = 0
        self.gate = Gate(Bodies(self.app))

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """As Django does: all of the body, then an answer; nothing for who has gone."""
        while (event := await receive())["type"] == "http.request":
            if not event.get("more_body", False):
                self.asked += 1
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return

    async def come(self, *parts: bytes, length: bytes = b"2") -> None:
        """One more call, up to where it waits."""
        events = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        self.answers.append([])
        answer = self.answers[-1]

        async def receive() -> dict[str, Any]:
            if not events:
                await asyncio.Event().wait()
            return events.pop(0)

        async def send(event: Any) -> None:
            answer.append(event)

        said = (b"content-length", length) if length else (b"transfer-encoding", b"chunked")
        scope = {"path": self.path, "method": "POST", "headers": [said]}
        self.tasks.append(asyncio.create_task(self.gate(scope, receive, send)))
        await asyncio.sleep(0)

    async def ask(self) -> int:
        """The status of a call that says all at once."""
        statuses = list[int]()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(event: Any) -> None:
            statuses.append(event.get("status", 0))

        scope = {"path": "/api/conversations", "method": "GET", "headers": []}
        await self.gate(scope, receive, send)
        return statuses[0]

    async def go(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_no_body_is_held_uncounted_under_the_path_of_files() -> None:
    """An upload is asked for its token first. Of all else there, which is nothing, a MiB each was taken in."""
    strangers = Strangers("/api/files/1")
    for _ in range(CALLS + 1):
        await strangers.come(b"{")
    await strangers.tasks[0]
    assert [event.get("status") for event in strangers.answers[0]] == [429, None]
    await strangers.go()


async def test_whoever_never_says_the_rest_of_a_body_keeps_no_place_from_others() -> None:
    """128 strangers who held a request each, of which nothing came, left the API to nobody."""
    strangers = Strangers()
    for n in range(CALLS):
        await strangers.come(*[b"{"] * (1 - n % 2))
    assert [await strangers.ask() for _ in range(3)] == [200] * 3
    assert strangers.asked == 3
    await strangers.tasks[0]
    told = [[event.get("status") for event in answer] for answer in strangers.answers]
    assert told == [[429, None], *[[]] * (CALLS - 1)]  # the oldest, and no more than was needed
    await strangers.go()


async def test_whoever_does_not_read_an_answer_keeps_no_place_from_others() -> None:
    """128 clients that asked for a page, and took none of it, left the API to nobody for a minute."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """As Django does: an answer, which is given up when the client has gone."""
        await receive()
        answer = asyncio.create_task(send({"type": "http.response.start", "status": 200}))
        assert (await receive())["type"] == "http.disconnect"
        answer.cancel()

    gate, statuses = Gate(app), list[int]()

    def call(*, reads: bool) -> asyncio.Task[None]:
        asked = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if asked.is_set():
                await asyncio.Event().wait()
            asked.set()
            return {"type": "http.request"}

        async def send(event: Any) -> None:
            if not reads:
                await asyncio.Event().wait()
            statuses.append(event.get("status", 0))

        scope = {"path": "/api/conversations", "method": "GET", "headers": []}
        return asyncio.create_task(gate(scope, receive, send))

    calls = [call(reads=False) for _ in range(CALLS)]
    await asyncio.sleep(0.01)
    calls.append(call(reads=True))
    await calls[0]  # the oldest, and no more than was needed
    await asyncio.sleep(0.01)
    assert statuses == [200]
    assert sum(one.done() for one in calls) == 1
    for one in calls:
        one.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("length", [b"1000000", b""])
async def test_no_more_than_so_many_forms_are_taken_in_at_a_time(length: bytes) -> None:
    """A thousand strangers who sent all of 1 MiB but its last byte to the admin's log-in cost the server a GiB."""
    strangers = Strangers("/admin/login/")
    for _ in range(FORMS + 2):
        await strangers.come(b"x" * 1_000, length=length)
    await asyncio.gather(*strangers.tasks[:2])
    told = [[event.get("status") for event in answer] for answer in strangers.answers]
    assert told == [[503, None], [503, None], *[[]] * FORMS]
    assert await strangers.ask() == 200  # calls have places of their own
    assert [task.done() for task in strangers.tasks].count(False) == FORMS
    await strangers.go()


async def test_a_call_that_makes_place_is_answered_once() -> None:
    """What is too large is dropped for a while before it is refused; its place can be wanted then."""
    strangers = Strangers()
    await strangers.come(length=b"9999999")
    for _ in range(CALLS - 1):
        await strangers.come()
    assert await strangers.ask() == 200
    await strangers.tasks[0]
    assert [event.get("status") for event in strangers.answers[0]] == [413, None]
    await strangers.go()
