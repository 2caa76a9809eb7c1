"""What a load balancer hears, without Django and without a login."""

import json
from typing import Any, cast

from prometheus_client import REGISTRY

from messaging.health import Health, Readiness
from project.probes import Probes


class Fit:
    """A process that is as it is said to be."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def readiness(self) -> Readiness:
        return self._readiness


async def asked(
    path: str, readiness: Readiness | None, *, method: str = "GET"
) -> tuple[int, dict[str, Any]]:
    """Status and answer; `app` behind answers 404."""
    sent: list[dict[str, Any]] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    process = cast("Health", Fit(readiness) if readiness else None)
    await Probes(app, process)({"type": "http", "path": path, "method": method}, None, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def test_a_process_that_turns_its_loop_is_alive_and_asks_nobody() -> None:
    status, answer = await asked("/healthz", None)
    assert status == 200
    assert answer["alive"] is True


async def test_a_process_that_lacks_nothing_is_ready() -> None:
    status, answer = await asked("/readyz", Readiness())
    assert (status, answer["ready"], answer["missing"]) == (200, True, {})


async def test_a_process_that_lacks_something_names_it() -> None:
    status, answer = await asked("/readyz", Readiness(missing={"bus": "silent"}))
    assert (status, answer["ready"], answer["missing"]) == (503, False, {"bus": "silent"})


async def test_a_process_that_is_about_to_end_is_not_ready() -> None:
    status, answer = await asked("/readyz", Readiness(draining=True))
    assert (status, answer["draining"], answer["missing"]) == (503, True, {})


async def test_everything_else_is_the_applications_and_is_timed() -> None:
    labels = {"method": "POST", "status": "4xx"}

    def timed() -> float:
        return REGISTRY.get_sample_value("lockstep_request_seconds_count", labels) or 0.0

    before = timed()
    for path in ("/healthz", "/readyz", "/api/", "/healthz/"):
        assert (await asked(path, None, method="POST"))[0] == 404
    assert timed() - before == 4
