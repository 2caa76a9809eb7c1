"""The outbox against a server that refuses at random: every lane stays in order."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from messaging.protocol.happenings import Request
from messaging.protocol.outbox import Outbox

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
