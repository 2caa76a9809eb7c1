"""`perf stress api`: its client, its steps, its judgement of repeats, and what schemathesis tells."""

import asyncio
import json
import tomllib
from collections.abc import Awaitable, Callable

import pytest

from perf.load import fuzz
from perf.load.known import LOG_IN, OFTEN, REGISTER, Known
from perf.load.rest import Answer, NoAnswer, Rest
from perf.scenarios.api import LIMIT_MS, Step, differing, misplaced, why_failed
from perf.scenarios.parts.calls import Repeat

FIRST = {"message": "m1", "position": 7, "seq": 7}
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def a_step(**facts: object) -> Step:
    given: dict[str, object] = {
        "asked": 20.0,
        "achieved": 20.0,
        "p50": 5.0,
        "p99": 20.0,
        "errors": 0,
        "refused": 0,
        "server_cpu": 10.0,
        "postgres_cpu": 5.0,
        "late_p99": 1.0,
    }
    return Step(**{**given, **facts})  # type: ignore[arg-type]


def test_a_step_is_held_without_errors_and_in_time() -> None:
    assert why_failed(a_step(), share=1.0) == ""
    assert "2 server errors" in why_failed(a_step(errors=2), share=1.0)
    assert "refused for the moment" in why_failed(a_step(refused=1), share=1.0)
    assert "p99" in why_failed(a_step(p99=LIMIT_MS), share=1.0)
    assert "only 50 %" in why_failed(a_step(), share=0.5)


def test_a_repeat_that_gets_another_result_is_found() -> None:
    good = Repeat("k", FIRST, FIRST, (201, 200))
    assert differing([good, Repeat("k", FIRST, FIRST, (200, 201))]) == []
    assert len(differing([Repeat("k", FIRST, {**FIRST, "message": "m2"}, (201, 200))])) == 1
    assert len(differing([Repeat("k", FIRST, FIRST, (201, 201))])) == 1


def test_a_repeat_that_is_stored_twice_or_elsewhere_is_found() -> None:
    one = Repeat("k", FIRST, FIRST, (201, 200))
    assert misplaced([one], {"k": (1, "m1", 7)}) == []
    assert len(misplaced([one], {"k": (2, "m1", 7)})) == 1
    assert len(misplaced([one], {"k": (1, "m1", 8)})) == 1
    assert len(misplaced([one], {})) == 1


def test_what_schemathesis_found_is_read_from_its_report() -> None:
    report = {
        "operations": {"total": 19, "selected": 19, "tested": 18},
        "test_cases": {"generated": 710, "with_failures": 1},
        "failures": [
            {"code": "ST1", "title": "Server error", "count": 2, "operations": ["GET /x"]}
        ],
        "errors": [],
    }
    found = fuzz.read(json.dumps(report).encode())
    assert (found.document, found.tested, found.requests) == (19, 18, 710)
    assert found.failures == [fuzz.Failure("Server error", 2, ["GET /x"], "ST1")]


def test_what_each_operation_answered_is_read_from_the_archive() -> None:
    said = [
        ("POST", "/api/devices/link?x=/api/users", 404),
        ("GET", "/api/devices/7", 200),
        ("GET", "/api/devices/a%2Fb", 404),
        ("GET", "/api/devices/9", 204),
        ("TRACE", "/api/devices/9", 405),
        ("GET", "/elsewhere", 404),
    ]
    entries = [
        {"request": {"method": how, "url": f"http://x{url}"}, "response": {"status": status}}
        for how, url, status in said
    ]
    archive = json.dumps({"log": {"entries": entries}}).encode()
    document = ["GET /api/devices/{device}", "POST /api/devices/{device}", "POST /api/devices/link"]
    answers = fuzz.answers_of(archive, [*document, "GET /api/users"])
    assert answers == {
        "GET /api/devices/{device}": {"2xx": 2, "4xx": 1},
        "POST /api/devices/{device}": {},
        "POST /api/devices/link": {"4xx": 1},
        "GET /api/users": {},
    }
    found = fuzz.Fuzzed(document=4, tested=2, requests=6, answers=answers)
    assert found.unasked == ["GET /api/users", "POST /api/devices/{device}"]
    assert set(found.never("2xx")) == {*found.unasked, "POST /api/devices/link"}


def test_what_exists_is_told_to_the_fuzzer_where_it_belongs_and_nothing_else_is() -> None:
    odd = 'a "b" \\ \u00e9\u2603\x7f'
    known = Known(values={"users": ["u"], "versions": [1], "names": [odd]}, proof="p")
    told = tomllib.loads(known.configuration())
    assert told["dictionaries"] == {name: {"values": list(v)} for name, v in known.values.items()}
    assert told["parameters"]["path.user"] == {"dictionary": "users", "probability": OFTEN}
    bound = {one["dictionary"] for one in told["parameters"].values()}
    assert bound == {"users", "versions"}
    log_in, register = told["operations"]
    assert (log_in["include-name"], list(log_in["parameters"])) == (LOG_IN, ["body.username"])
    assert register == {"include-name": REGISTER, "headers": {"Authorization": "Login p"}}


def test_a_few_operations_are_chosen_by_the_seed_and_none_that_hashes_passwords() -> None:
    document = [f"GET /api/{number}" for number in range(20)] + list(fuzz.SLOW)
    chosen = fuzz.choose(document, few=6, seed=1)
    assert chosen == fuzz.choose(document[::-1], few=6, seed=1)
    assert len(set(chosen)) == 6
    every = {one for seed in range(100) for one in fuzz.choose(document, few=6, seed=seed)}
    assert every == set(document) - set(fuzz.SLOW)
    assert fuzz.choose(document[:3], few=6, seed=1) == document[:3]


def answering(*answers: bytes) -> Handler:
    """A server that gives these answers, one a request, and closes after them."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    return handle


async def asked(handler: Handler, times: int) -> tuple[list[Answer], int]:
    """The answers to so many requests, and how many connections they took."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        rest = Rest(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            return [await rest.ask("GET", "/") for _ in range(times)], rest.opened
        finally:
            await rest.close()


def test_answers_with_a_length_and_in_chunks_are_read_on_one_connection() -> None:
    plain = b'HTTP/1.1 201 Created\r\ncontent-length: 7\r\n\r\n{"a":1}'
    chunks = (
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":2}\r\n0\r\n\r\n'
    )
    (first, second), opened = asyncio.run(asked(answering(plain, chunks), 2))
    assert (first.status, first.json()) == (201, {"a": 1})
    assert (second.status, second.json()) == (200, {"a": 2})
    assert opened == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_once() -> None:
    empty = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    answers, opened = asyncio.run(asked(answering(empty), 3))
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert opened == 3


def test_a_fresh_connection_that_is_closed_before_the_answer_is_an_error() -> None:
    with pytest.raises(NoAnswer, match="closed before the answer"):
        asyncio.run(asked(answering(), 1))
