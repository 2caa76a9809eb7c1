"""Whose write is next: little waits little, nobody waits for ever, and each device's order is kept."""

from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging.journal import turns as module
from messaging.journal.batching import BATCH_BYTES, BATCH_ROWS
from messaging.journal.turns import FEW_BATCHES, TURN, Turns
from messaging.journal.writer import Entry
from messaging.protocol.frames import Send


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if more than a few batches waited already."""
    monkeypatch.setattr(module, "FEW_BATCHES", 0)


def entry(device: str, number: int = 0, *, size: int = 1) -> Entry:
    frame = Send(conversation="c", client_id=str(number), body="b")
    return Entry(device, frame, lambda _: None, size, number=number)


def filled(**devices: int) -> Turns:
    turns = Turns()
    for device, count in devices.items():
        for number in range(count):
            turns.append(entry(device, number))
    return turns


def taken(turns: Turns, most: int) -> list[str]:
    """The devices of the next so many writes, which are dropped."""
    devices = [one.device for one in turns.head(most)]
    turns.drop(len(devices))
    return devices


def test_as_long_as_few_wait_who_came_first_is_first() -> None:
    turns, few = Turns(), FEW_BATCHES * BATCH_ROWS
    for number in range(few):
        turns.append(entry("ab"[number % 2], number))
    turns.append(entry("a", few))
    turns.append(entry("c"))
    assert taken(turns, few) == ["a", "b"] * (few // 2)
    turns.append(entry("a", few + 1))
    assert taken(turns, 500) == ["a", "a", "c"]
    turns.append(entry("c"))
    turns.append(entry("a"))
    assert taken(turns, 500) == ["c", "a"]


@pytest.mark.usefixtures("crowded")
def test_who_comes_with_little_is_in_the_next_batch_however_much_the_others_have() -> None:
    turns = filled(a=1_000, b=1_000)
    assert "c" not in taken(turns, 100)
    turns.append(entry("c"))
    assert taken(turns, 100)[0] == "c"


@pytest.mark.usefixtures("crowded")
def test_devices_with_much_take_turns() -> None:
    turns = filled(a=1_000, b=1_000)
    assert taken(turns, 3 * TURN) == ["a"] * TURN + ["b"] * TURN + ["a"] * TURN


@pytest.mark.usefixtures("crowded")
def test_many_who_come_with_little_again_and_again_hold_up_nobody_for_ever() -> None:
    turns = filled(bulk=TURN + 1)
    taken(turns, TURN)
    for number in range(10):
        for light in range(20):
            turns.append(entry(f"light{light}", number))
        if "bulk" in taken(turns, 20):
            break
    else:
        raise AssertionError("the others were always first")
    assert number < 3


@pytest.mark.usefixtures("crowded")
def test_what_is_next_stays_so_until_it_is_dropped() -> None:
    turns = filled(a=50)
    first = list(turns.head(20))
    turns.append(entry("b"))
    assert list(turns.head(20)) == first
    turns.drop(5)
    assert list(turns.head(20))[:15] == first[5:]


@pytest.mark.usefixtures("crowded")
def test_the_head_is_no_more_than_a_batch_in_bytes() -> None:
    turns = Turns()
    for number in range(100):
        turns.append(entry("a", number, size=BATCH_BYTES // 4))
    assert len(turns.head(500)) == 4


@pytest.mark.usefixtures("crowded")
def test_what_is_put_back_is_next() -> None:
    turns = filled(a=30)
    head = list(turns.head(20))
    turns.drop(20)
    turns.append(entry("b"))
    turns.put_back(head)
    assert list(turns.head(20)) == head
    assert len(turns) == 31


@pytest.mark.usefixtures("crowded")
def test_nothing_is_kept_of_who_waits_no_more() -> None:
    turns = Turns()
    for number in range(1_000):
        turns.append(entry(f"device{number}"))
        taken(turns, 500)
    assert not turns._waiting
    assert not turns._others


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("put back"), st.integers(1, 40)),
        st.tuples(st.just("remove"), st.integers(2, 5)),
    ),
    max_size=200,
)


@pytest.mark.usefixtures("crowded")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_each_device_s_order_is_kept_and_nothing_is_lost(steps: list[tuple[str, int]]) -> None:
    turns, model = Turns(), [deque[int]() for _ in range(4)]
    for number, (verb, what) in enumerate(steps):
        if verb == "append":
            turns.append(entry(str(what), number))
            model[what].append(number)
        elif verb == "remove":
            gone = turns.remove(lambda one, every=what: one.number % every == 0)  # type: ignore[misc]
            for one in gone:
                model[int(one.device)].remove(one.number)
        else:
            head = list(turns.head(what))
            turns.drop(len(head))
            if verb == "put back":
                turns.put_back(head)
                continue
            assert [(one.device, one.number) for one in head] == [
                (one.device, model[int(one.device)].popleft()) for one in head
            ]
        assert len(turns) == len(list(turns)) == sum(map(len, model))
    rest = [one for one in turns.head(10**6) if one.size]
    assert len(rest) == sum(map(len, model))
