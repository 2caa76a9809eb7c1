"""Credit is taken by what is sent, and given back by what is acknowledged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging.protocol.server.window import WINDOW_BYTES, WINDOW_MESSAGES, Window


def test_new_window_has_all_its_credit() -> None:
    window = Window()
    assert (window.max_messages, window.max_bytes) == (WINDOW_MESSAGES, WINDOW_BYTES)
    assert window.roomy
    assert not window.exhausted


@pytest.mark.parametrize(
    ("messages", "size", "exhausted", "roomy"),
    [
        (5, 50, False, True),
        (6, 50, False, False),
        (5, 51, False, False),
        (9, 99, False, False),
        (0, 99, False, False),
        (10, 1, True, False),
        (1, 100, True, False),
    ],
)
def test_messages_and_bytes_both_count(
    messages: int, size: int, exhausted: bool, roomy: bool
) -> None:
    window = Window(messages=10, size=100)
    window.sent("c", upto=1, messages=messages, size=size)
    assert (window.exhausted, window.roomy) == (exhausted, roomy)


def test_one_frame_may_be_in_flight_however_large() -> None:
    window = Window(messages=10, size=100)
    exhausted = [window.exhausted]
    window.sent("c", upto=500, messages=500, size=1_000_000)
    exhausted.append(window.exhausted)
    assert window.acknowledged("c", 500)
    assert [*exhausted, window.exhausted] == [False, True, False]
    assert window.roomy


def test_acknowledgement_gives_back_whole_frames_only() -> None:
    window = Window(size=70)
    window.sent("c", upto=3, messages=3, size=30)
    window.sent("c", upto=6, messages=3, size=40)
    assert not window.acknowledged("c", 2)
    assert window.exhausted
    assert window.acknowledged("c", 5)
    assert (window.exhausted, window.roomy) == (False, False)  # 40 of 70


def test_acknowledgement_is_of_one_conversation() -> None:
    window = Window(size=70)
    window.sent("a", upto=3, messages=3, size=30)
    window.sent("b", upto=3, messages=3, size=40)
    assert window.acknowledged("a", 3)
    assert not window.acknowledged("a", 3)
    assert not window.acknowledged("unknown", 3)
    assert (window.exhausted, window.roomy) == (False, False)  # 40 of 70


def test_left_conversation_gives_back_all_its_credit() -> None:
    window = Window(size=70)
    window.sent("a", upto=3, messages=3, size=30)
    window.sent("b", upto=3, messages=3, size=40)
    window.forget("a")
    window.forget("never heard of")
    assert (window.exhausted, window.roomy) == (False, False)  # 40 of 70


def test_client_that_never_acknowledges_is_credited_with_what_was_written() -> None:
    window = Window(size=100)
    window.sent("a", upto=3, messages=3, size=30)
    window.sent("a", upto=7, messages=4, size=30)
    window.sent("a", upto=5, messages=5, size=1)  # a page that it asked for
    window.sent("b", upto=2, messages=2, size=40)
    assert window.exhausted
    assert window.written() == {"a": 7, "b": 2}
    assert window.roomy
    assert window.written() == {}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 50), st.integers(0, 30))
    )
)
def test_what_is_in_flight_is_what_was_sent_less_what_came_back(
    steps: list[tuple[str, int, int, int]],
) -> None:
    window, flight, upto = Window(messages=20, size=200), [], {"a": 0, "b": 0}
    for conversation, messages, size, acked in steps:
        if acked % 3:
            upto[conversation] += 1
            flight.append((conversation, upto[conversation], messages, size))
            window.sent(conversation, upto=upto[conversation], messages=messages, size=size)
        else:
            window.acknowledged(conversation, acked)
            flight = [one for one in flight if one[0] != conversation or one[1] > acked]
        sent, weight = sum(one[2] for one in flight), sum(one[3] for one in flight)
        assert window.exhausted == (sent >= 20 or weight >= 200)
        assert window.roomy == (sent <= 10 and weight <= 100)


def test_starvation_is_timed_from_when_it_was_first_asked() -> None:
    window = Window(messages=1)
    assert window.starved_s(5.0) == 0.0
    window.sent("c", upto=1, messages=1, size=1)
    assert [window.starved_s(now) for now in (10.0, 12.5)] == [0.0, 2.5]


def test_any_credit_that_comes_back_ends_starvation() -> None:
    """Also if it is used up again before anybody asks."""
    window = Window(messages=1)
    window.sent("c", upto=1, messages=1, size=1)
    window.starved_s(10.0)
    assert window.acknowledged("c", 1)
    window.sent("c", upto=2, messages=1, size=1)
    assert window.starved_s(20.0) == 0.0
