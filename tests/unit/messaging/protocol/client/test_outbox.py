"""The outbox against a server that refuses at random: every lane stays in order."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.protocol.client.happenings import Request
from messaging.protocol.client.outbox import Outbox
from messaging.protocol.errors import Refused
from messaging.protocol.frames import Delete, Edit, Error, Message, Ok

LANES = ("c1", "c2")


@given(st.lists(st.sampled_from(["send c1", "send c2", "take", "refuse", "time", "cut"])))
def test_a_lane_is_committed_in_order_whatever_is_refused(steps: list[str]) -> None:
    """The server refuses what follows a refused request of its lane until that one is repeated."""
    outbox, now = Outbox(), 0.0
    outbox.start(max_requests=3, max_bytes=100)
    wire: deque[Request] = deque()
    blocked: dict[str, str] = {}
    committed: dict[str, list[str]] = {lane: [] for lane in LANES}
    asked: dict[str, list[str]] = {lane: [] for lane in LANES}

    def answer(*, refuse: bool) -> None:
        request = wire.popleft()
        lane, key = outbox.entries[request.client_id].conversation, request.client_id
        if refuse or blocked.get(lane, key) != key:
            blocked.setdefault(lane, key)
            outbox.hold(key, until=now + 10)
        else:
            blocked.pop(lane, None)
            committed[lane].append(key)
            outbox.settle(key)

    for step in [*steps, *["time", "take", "take", "take"] * (2 * len(steps) + 2)]:
        if step.startswith("send"):
            lane = step.split()[1]
            entry = outbox.send(lane, "body", client_id=f"{lane}-{len(asked[lane])}")
            asked[lane].append(entry.client_id)
        elif step == "time":
            now += 10
        elif step == "cut":
            wire.clear()
            blocked.clear()
            outbox.start(max_requests=3, max_bytes=100)
        elif wire:
            answer(refuse=step == "refuse")
        wire.extend(outbox.ready(now))
        assert len(wire) <= 3
    assert committed == asked
    assert not outbox
    assert outbox.deadline is None


def open_outbox() -> Outbox:
    """An outbox with a session."""
    outbox = Outbox()
    outbox.start(max_requests=3, max_bytes=100)
    return outbox


def test_edits_and_deletions_wait_in_the_lane_of_their_conversation() -> None:
    """Behind a send that was refused."""
    outbox = open_outbox()
    outbox.send("c1", "said", client_id="s")
    outbox.ready(0)
    outbox.hold("s", until=10)
    edit = outbox.edit("c1", "m", base_version=1, body="new", client_id="e").request
    delete = outbox.delete("c1", "m", base_version=2, client_id="d").request
    assert edit == Edit(message="m", base_version=1, client_id="e", body="new")
    assert delete == Delete(message="m", base_version=2, client_id="d")
    assert outbox.ready(9) == []
    assert outbox.deadline == 10
    assert [request.client_id for request in outbox.ready(10)] == ["s"]
    outbox.settle("s")
    assert [request.client_id for request in outbox.ready(10)] == ["e", "d"]


def test_lane_is_held_until_what_is_in_flight_of_it_was_answered() -> None:
    """However long its wait is over: the later one would overtake."""
    outbox = open_outbox()
    for key in "ab":
        outbox.send("c1", "", client_id=key)
    outbox.ready(0)
    outbox.hold("a", until=10)
    assert outbox.deadline is None
    assert outbox.ready(20) == []
    outbox.hold("b", until=30)
    assert [request.client_id for request in outbox.ready(20)] == ["a"]
    outbox.settle("a")
    assert [request.client_id for request in outbox.ready(20)] == ["b"]


def test_a_lane_that_was_held_starts_slowly_and_keeps_its_order_beside_what_is_added() -> None:
    """A full server to which everybody repeats all they have stays full."""
    outbox = Outbox()
    outbox.start(max_requests=16, max_bytes=1_000)
    asked = [outbox.send("c1", "").client_id for _ in range(40)]
    for request in outbox.ready(0):
        outbox.hold(request.client_id, until=10)
    sent: list[str] = []
    flights: list[int] = []
    while going := [request.client_id for request in outbox.ready(10)]:
        flights.append(len(going))
        sent += going
        for key in going[:-1]:
            asked.append(outbox.send("c1", "").client_id)
            outbox.settle(key)
            sent += [request.client_id for request in outbox.ready(10)]
        outbox.settle(going[-1])
        if len(flights) == 5:
            break
    assert flights == [1, 2, 4, 8, 16]
    assert sent == asked[: len(sent)]


def test_a_lane_that_starts_slowly_holds_up_no_other_lane() -> None:
    outbox = open_outbox()
    for key in "ab":
        outbox.send("slow", "", client_id=key)
    for request in outbox.ready(0):
        outbox.hold(request.client_id, until=10)
    for key in "cd":
        outbox.send("other", "", client_id=key)
    assert [request.client_id for request in outbox.ready(10)] == ["a", "c", "d"]


def test_a_key_is_made_where_none_is_given_and_never_used_twice() -> None:
    """The outbox can't tell apart what has one key."""
    outbox = Outbox()
    made = {outbox.send("c1", "").client_id, outbox.delete("c1", "m", base_version=1).client_id}
    assert len(made) == 2
    outbox.edit("c1", "m", base_version=1, body="", client_id="k")
    with pytest.raises(ValueError, match="k is in the outbox already"):
        outbox.send("c1", "", client_id="k")


def test_what_can_not_be_stored_never_enters() -> None:
    """It would be refused at each attempt, for ever."""
    outbox = Outbox()
    with pytest.raises(Refused):
        outbox.send("c1", "x" * 70_000)
    with pytest.raises(Refused):
        outbox.edit("c1", "m", base_version=1, body="\x00")
    with pytest.raises(Refused):
        outbox.delete("c1", "m", base_version=1, client_id="\x00")
    assert not outbox


def test_bytes_in_flight_are_limited_and_one_request_always_goes() -> None:
    """However large: else it would never go."""
    outbox = open_outbox()
    outbox.send("c1", "x" * 200, client_id="large")
    outbox.send("c2", "y", client_id="small")
    assert [request.client_id for request in outbox.ready(0)] == ["large"]
    assert outbox.settle("large")
    assert [request.client_id for request in outbox.ready(0)] == ["small"]


def test_what_was_settled_before_it_went_out_does_not_go() -> None:
    """The feed brought it: an earlier session had sent it."""
    outbox = open_outbox()
    outbox.send("c1", "", client_id="a")
    assert outbox.settle("a")
    assert outbox.settle("a") is None
    assert outbox.settle(None) is None
    assert outbox.ready(0) == []


def test_application_is_told_what_became_of_its_request() -> None:
    """Where it stands, or why it was refused."""
    entry = Outbox().send("c1", "said", client_id="k")
    told = entry.confirmed("m", Ok(client_id="k", message="m", seq=5, position=3, version=2))
    assert (told.client_id, told.conversation, told.message) == ("k", "c1", "m")
    assert (told.seq, told.position, told.version, told.created) == (5, 3, 2, 0)
    assert told.request is entry.request
    place = Message(id="m", seq=5, position=3, version=2)
    assert entry.confirmed("m", place) == told
    error = Error(code="forbidden", message="no", definite=True, client_id="k")
    assert entry.declined(error).error is error
    assert entry.declined(error).conversation == "c1"
