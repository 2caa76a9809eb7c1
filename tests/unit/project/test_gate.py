"""A call that could only wait is refused before Django sees it; all others pass."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from messaging.overload.door import door
from messaging.overload.pressure import FEW_AT_A_TIME, NO_HISTORY
from presence import database
from project.gate import CALLS, Gate

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

    await Gate(app)({"path": path, "method": method}, None, send)  # type: ignore[arg-type]
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

    async def app(*_: Any) -> None:
        await go_on.wait()

    async def send(event: dict[str, Any]) -> None:
        statuses.append(event.get("status", 0))

    gate = Gate(app)

    def call(path: str) -> asyncio.Task[None]:
        return asyncio.create_task(gate({"path": path, "method": "GET"}, None, send))  # type: ignore[arg-type]

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
