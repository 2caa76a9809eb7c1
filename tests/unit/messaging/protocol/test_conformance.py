"""Runs the cases that every client must pass against the Python client's core."""

import json
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

import messaging.protocol
from messaging.protocol.client.client import Client, Phase
from messaging.protocol.client.happenings import (
    AnyHappening,
    Applied,
    Confirmed,
    Declined,
    Request,
    Restarted,
)
from messaging.protocol.client.saved import Saved
from messaging.protocol.client.timeline import Timeline
from messaging.protocol.codec import JSON
from messaging.protocol.errors import Refused

Json: TypeAlias = dict[str, Any]

DIRECTORY = Path(messaging.protocol.__file__).parent / "conformance"
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(DIRECTORY.glob("*.json"))
    for case in json.loads(path.read_text())
]
WELCOME = {
    "device": "d1",
    "user": "u1",
    "session": "s1",
    "epoch": "e1",
    "window": {"messages": 1000, "bytes": 65536},
    "limits": {"body_bytes": 65536, "frame_bytes": 1_048_576, "requests": 256},
}
NOTHING: tuple[Any, ...] = (None, 0, "", [], {}, False)


class Run:
    """One case: a client, its clock and what came of it."""

    def __init__(self, case: Json) -> None:
        saved = case.get("saved", {})
        outbox = [(frame["conversation"], _request(frame)) for frame in saved.get("outbox", [])]
        self.client = Client(
            token="t",
            saved=Saved(
                **{**saved, "left": dict.fromkeys(saved.get("left", []), 0), "outbox": outbox}
            ),
            random=lambda: case.get("random", 0),
        )
        self.now = 0.0
        self.sent: list[Json] = []
        self.told: list[Json] = []
        self.timelines: dict[str, Timeline] = {}
        self.refs: dict[tuple[str, str | None], Any] = {}

    def play(self, steps: list[Json]) -> None:
        for number, step in enumerate(steps):
            (name, value), *_ = step.items()
            note = f"step {number}: {json.dumps(step)[:300]}"
            getattr(self, f"step_{name}")(value, step, note)
            self._collect()
        assert self.sent == [], "frames that no expect named"

    def step_open(self, value: Any, step: Json, note: str) -> None:
        self.client.connect(self.now)
        self.client.opened(self.now)
        self._collect()
        self.sent.clear()
        self.step_receive([{"type": "welcome", **value}], step, note)

    def step_do(self, value: Any, step: Json, note: str) -> None:
        (verb, arguments), *_ = value.items()
        with pytest.raises(Refused) if step.get("refused") else nullcontext():
            getattr(self, f"do_{verb}")(**arguments)

    def step_receive(self, value: Any, step: Json, note: str) -> None:
        raw = json.dumps([self._complete(frame) for frame in value])
        frames = JSON.decode_server(raw)
        self._tell(self.client.received(frames, self.now, size=step.get("bytes", 0)))

    def step_at(self, value: Any, step: Json, note: str) -> None:
        while (deadline := self.client.deadline) is not None and deadline <= value:
            self.now = max(self.now, deadline)
            self._collect()
            if self.client.phase is Phase.CONNECTING and value < self.client.deadline:
                break
        self.now = value

    def step_expect(self, value: Any, step: Json, note: str) -> None:
        sent, self.sent = self.sent, []
        assert [_plain(frame) for frame in sent] == [_plain(frame) for frame in value], note

    def step_events(self, value: Any, step: Json, note: str) -> None:
        told, self.told = self.told, []
        assert told == value, note

    def step_state(self, value: Any, step: Json, note: str) -> None:
        client = self.client
        found = {
            "phase": client.phase.value,
            "wait": (client.deadline or 0) - self.now,
            "cursors": client.cursors,
            "epoch": client.epoch,
            "outbox": list(client.outbox.entries),
            "left": list(client.left),
            "reads": client.reads,
            "stale": client.presence.others.stale,
            "typing": {c: client.presence.typists.others(c) for c in value.get("typing", {})},
        }
        for key in value.keys() - {"messages", "presence"}:
            assert found[key] == value[key], f"{key} at {note}"
        if "presence" in value:
            self._check_presence(value["presence"], note)
        for conversation, messages in value.get("messages", {}).items():
            shown = self.timelines.get(conversation, Timeline()).ordered()
            assert len(shown) == len(messages), note
            for message, fields in zip(shown, messages, strict=True):
                for field, wanted in fields.items():
                    actual = getattr(message, field)
                    assert (bool(actual) if wanted is True else actual) == wanted, (field, note)

    def _check_presence(self, expected: Json, note: str) -> None:
        users = self.client.presence.others.users
        assert users.keys() == expected.keys(), note
        for user, fields in expected.items():
            for field, wanted in fields.items():
                assert msgspec.to_builtins(getattr(users[user], field)) == wanted, (field, note)

    def do_connect(self) -> None:
        self.client.connect(self.now)

    def do_opened(self) -> None:
        self.client.opened(self.now)

    def do_disconnect(self) -> None:
        self.client.disconnect()

    def do_closed(self, code: int) -> None:
        self._tell(self.client.closed(code, self.now))

    def do_send(self, conversation: str, body: str, **more: Any) -> None:
        self.client.send(conversation, body, **more)

    def do_edit(self, conversation: str, message: str, **more: Any) -> None:
        self.client.edit(conversation, message, **more)

    def do_delete(self, conversation: str, message: str, **more: Any) -> None:
        self.client.delete(conversation, message, **more)

    def do_read(self, conversation: str, upto: int) -> None:
        self.client.read(conversation, upto)

    def do_set_presence(self, **fields: Any) -> None:
        self.client.set_presence(**fields)

    def do_watch(self, users: list[str]) -> None:
        self.client.watch(users)

    def do_typing(self, conversation: str, typing: bool) -> None:
        self.client.typing(conversation, typing=typing)

    def _complete(self, frame: Json) -> Json:
        if frame["type"] == "welcome":
            return {**WELCOME, **frame}
        if frame.get("ref") == "$sync":
            return {**frame, "ref": self.refs["sync", frame.get("conversation")]}
        last = {"$ping": "ping", "$set": "presence.set", "$watch": "presence.watch"}
        if frame.get("ref") in last:
            return {**frame, "ref": self.refs[last[frame["ref"]], None]}
        return frame

    def _collect(self) -> None:
        for frame in self.client.due(self.now):
            plain = json.loads(JSON.encode([frame]))
            self.refs[plain["type"], None] = plain.get("ref")
            self.refs[plain["type"], plain.get("conversation")] = plain.get("ref")
            self.sent.append(plain)
        self._tell(self.client.happened())

    def _tell(self, happened: list[AnyHappening]) -> None:
        for it in happened:
            match it:
                case Applied():
                    self._timeline(it.conversation).apply(it.messages)
                case Restarted():
                    self.timelines.pop(it.conversation, None)
                case Confirmed():
                    timeline = self._timeline(it.conversation)
                    timeline.confirm(it, device=self.client.device, user=self.client.user)
                    self.told.append({"confirmed": it.client_id})
                case Declined():
                    self.told.append({"refused": it.client_id, "code": it.error.code})

    def _timeline(self, conversation: str) -> Timeline:
        return self.timelines.setdefault(conversation, Timeline())


def _request(frame: Json) -> Request:
    client = Client()
    arguments = {key: value for key, value in frame.items() if key not in ("type", "conversation")}
    return client.send(frame["conversation"], **arguments).request


def _plain(value: Any) -> Any:
    """A frame as the cases compare it: without ref, and without what equals absence."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(one) for key, one in value.items() if key != "ref"}
    # Nothing said is not the same as false or no text where it means "as it was", or true.
    nothing = (None,) if value.get("type") in ("presence.set", "typing") else NOTHING
    return {
        key: one
        for key, one in plain.items()
        if one not in nothing and (key, one) not in (("kind", "text"), ("typing", True))
    }


@pytest.mark.parametrize("case", CASES)
def test_client_passes_the_case(case: Json) -> None:
    """What every client promises."""
    Run(case).play(case["steps"])


def test_every_case_has_a_name_of_its_own_and_says_why_it_matters() -> None:
    """A failing case is found by its name."""
    cases: list[Any] = [param.values[0] for param in CASES]
    names = sorted(case["name"] for case in cases)
    assert all(one != other for one, other in pairwise(names))
    assert all(case["about"] for case in cases)


@pytest.mark.parametrize("case", CASES)
def test_runner_convicts_a_client_that_does_not_send_what_is_expected(case: Json) -> None:
    """A judge that can't convict proves nothing."""
    with pytest.raises(AssertionError, match="never sent"):
        Run(case).play([*case["steps"], {"expect": [{"type": "never sent"}]}])


def test_runner_convicts_a_client_that_takes_what_it_should_refuse() -> None:
    """Or the case would prove nothing."""
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        Run({}).play([{"do": {"connect": {}}, "refused": True}])


def test_runner_convicts_a_client_that_sends_a_frame_that_no_case_expects() -> None:
    """Silence is a promise, too."""
    send = {"send": {"conversation": "c1", "body": "hi", "client_id": "k1"}}
    with pytest.raises(AssertionError, match="no expect named"):
        Run({}).play([{"open": {}}, {"do": send}])
