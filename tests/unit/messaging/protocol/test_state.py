"""One table owns every transition of a session."""

from __future__ import annotations

import pytest

from messaging.protocol.codec import CLIENT_TYPES, SERVER_TYPES
from messaging.protocol.state import ANSWERS, REQUESTS, TRANSITIONS, IllegalFrame, State, advance

EVERY_FRAME = sorted(CLIENT_TYPES | SERVER_TYPES)
UNLISTED = [
    (state, name) for state in State for name in EVERY_FRAME if (state, name) not in TRANSITIONS
]


@pytest.mark.parametrize(("state", "name"), TRANSITIONS)
def test_listed_frame_moves_the_session(state: State, name: str) -> None:
    assert advance(state, name, role="server") is TRANSITIONS[state, name]


@pytest.mark.parametrize(("state", "name"), UNLISTED)
def test_unlisted_frame_is_refused_with_role_frame_and_state(state: State, name: str) -> None:
    with pytest.raises(IllegalFrame) as refused:
        advance(state, name, role="client")
    assert (refused.value.role, refused.value.frame, refused.value.state) == ("client", name, state)
    assert str(refused.value) == f"the client can't take {name} while {state.value}"


def test_table_knows_every_frame_and_no_other() -> None:
    assert {name for _, name in TRANSITIONS} == set(EVERY_FRAME)


def test_only_a_welcome_after_a_hello_makes_a_session_live() -> None:
    ways = [pair for pair, state in TRANSITIONS.items() if state is State.LIVE]
    assert [pair for pair in ways if pair[0] is not State.LIVE] == [(State.GREETING, "welcome")]


@pytest.mark.parametrize("name", REQUESTS)
def test_nothing_is_asked_before_welcome(name: str) -> None:
    assert (State.NEW, name) not in TRANSITIONS
    assert (State.GREETING, name) not in TRANSITIONS


def test_closing_is_the_end() -> None:
    assert {after for (state, _), after in TRANSITIONS.items() if state is State.CLOSING} == {
        State.CLOSING
    }


@pytest.mark.parametrize("state", State)
def test_goodbye_may_be_said_at_any_time(state: State) -> None:
    assert advance(state, "goodbye", role="client") is State.CLOSING


def test_requests_and_answers_still_cross_a_goodbye() -> None:
    assert all((State.CLOSING, name) in TRANSITIONS for name in REQUESTS + ANSWERS)
