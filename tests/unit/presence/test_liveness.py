"""Who is here, and what is shown of it: pure rules, so every history may be tried."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.liveness import (
    Difference,
    Here,
    Seat,
    View,
    difference,
    seen_by_others,
    seen_by_self,
)

DEBOUNCE_S = 2.0

seats = st.lists(
    st.builds(
        Seat,
        device=st.sampled_from(["phone", "laptop", "tablet"]),
        node=st.sampled_from(["n1", "n2"]),
        state=st.sampled_from(["online", "away"]),
        live=st.booleans(),
    ),
    max_size=6,
).map(tuple)
heres = st.builds(
    Here,
    user=st.just("ann"),
    seats=seats,
    idle=st.sampled_from([(), ("watch",)]),
    text=st.sampled_from(["", "lunch"]),
    text_left=st.none() | st.floats(0, 100),
    until=st.none() | st.integers(0, 10),
    invisible=st.booleans(),
    last_seen=st.none() | st.integers(0, 10),
    gone=st.none() | st.floats(0, 10),
)


def seat(
    device: str = "phone", state: str = "online", *, node: str = "n1", live: bool = True
) -> Seat:
    return Seat(device, node, state, live)


def told(before: View | None, now: Here) -> Difference:
    """What others are told."""
    known = {} if before is None else {now.user: before}
    return difference(known, {now.user: seen_by_others(now)}, debounce_s=DEBOUNCE_S)


def ann(*sessions: Seat, **facts: Any) -> Here:
    return Here(user="ann", seats=sessions, **facts)


# The fold


@given(heres)
def test_a_user_is_online_if_any_live_session_is_and_away_if_there_are_only_others(
    here: Here,
) -> None:
    live = {one.state for one in here.seats if one.live}
    expected = "online" if "online" in live else "away" if live else "offline"
    assert here.state == expected


@given(heres, st.randoms())
def test_the_order_of_sessions_does_not_matter(here: Here, random: Any) -> None:
    shuffled = random.sample(here.seats, len(here.seats))
    assert seen_by_self(replace(here, seats=tuple(shuffled))) == seen_by_self(here)


@given(heres)
def test_a_user_is_what_the_best_of_the_devices_is(here: Here) -> None:
    rank = ["offline", "away", "online"].index
    assert here.state == max(here.devices.values(), key=rank, default="offline")
    assert set(here.devices) == {one.device for one in here.seats} | set(here.idle)


def test_one_device_away_and_another_online_is_online_and_each_is_told_to_ones_own() -> None:
    view = seen_by_self(ann(seat("phone", "away"), seat("laptop"), idle=("watch",)))
    assert view.state == "online"
    assert dict(view.devices) == {"phone": "away", "laptop": "online", "watch": "offline"}


def test_sessions_of_a_process_whose_lease_is_over_do_not_count() -> None:
    here = ann(seat("phone", live=False), seat("laptop", "away"))
    assert here.state == "away"
    assert here.devices["phone"] == "offline"


# Who sees what


@given(heres)
def test_others_see_no_single_device_and_nothing_of_the_invisible(here: Here) -> None:
    view = seen_by_others(here)
    assert (view.devices, view.invisible) == ((), False)
    if here.invisible:
        assert view == View(user="ann")


@given(heres)
def test_ones_own_devices_see_everything(here: Here) -> None:
    view = seen_by_self(here)
    assert (view.state, view.text, view.invisible) == (here.state, here.text, here.invisible)
    assert dict(view.devices) == here.devices


@given(heres)
def test_last_seen_is_told_of_those_only_who_are_gone(here: Here) -> None:
    for view in (seen_by_self(here), seen_by_others(here)):
        assert view.last_seen is None or view.state == "offline"


# The difference of two moments


@given(st.none() | heres, heres)
def test_what_was_shown_and_the_news_is_what_is_shown(before: Here | None, now: Here) -> None:
    old = seen_by_others(before) if before is not None else None
    made = told(old, now)
    assert made.shown["ann"] == made.news.get("ann", old)
    assert told(made.shown["ann"], now).news == {}


@given(st.none() | heres, heres)
def test_whatever_is_held_back_is_shown_when_it_is_due(before: Here | None, now: Here) -> None:
    first = told(seen_by_others(before) if before is not None else None, now)
    if first.shown["ann"] == seen_by_others(now):
        return
    assert now.gone is not None
    later = replace(now, gone=now.gone + first.due["ann"], text_left=None)
    assert now.text_left is not None or later.gone == pytest.approx(DEBOUNCE_S)
    settled = told(first.shown["ann"], replace(later, gone=DEBOUNCE_S))
    assert settled.shown["ann"] == seen_by_others(now)


@pytest.mark.parametrize("gone", [0.0, 1.9])
def test_a_session_that_ended_just_now_is_not_missed_yet(gone: float) -> None:
    online = seen_by_others(ann(seat()))
    made = told(online, ann(gone=gone, last_seen=1))
    assert made.news == {}
    assert made.due == {"ann": pytest.approx(DEBOUNCE_S - gone)}
    back = told(made.shown["ann"], ann(seat()))
    assert (back.news, back.due) == ({}, {})


def test_after_the_debounce_it_is_missed() -> None:
    made = told(seen_by_others(ann(seat())), ann(gone=DEBOUNCE_S, last_seen=1))
    assert made.news["ann"].state == "offline"
    assert made.news["ann"].last_seen == 1


def test_a_process_that_died_was_silent_for_longer_than_the_debounce() -> None:
    dead = ann(seat(live=False), gone=6.0, last_seen=1)
    assert told(seen_by_others(ann(seat())), dead).news["ann"].state == "offline"


def test_a_tab_that_is_closed_and_comes_back_makes_nobody_look_away() -> None:
    both = seen_by_others(ann(seat("laptop"), seat("phone", "away")))
    made = told(both, ann(seat("phone", "away"), gone=0.1))
    assert made.news == {}
    assert told(made.shown["ann"], ann(seat("phone", "away"), gone=2.0)).news["ann"].state == "away"


def test_ones_own_word_is_shown_at_once_also_just_after_another_session_ended() -> None:
    online = told(seen_by_others(ann(seat(), seat("laptop"))), ann(seat(), gone=0.1)).shown["ann"]
    assert told(online, ann(seat(state="away"), gone=0.2)).news["ann"].state == "away"


def test_becoming_invisible_is_shown_at_once() -> None:
    online = seen_by_others(ann(seat(), text="hi"))
    made = told(online, ann(seat(), text="hi", invisible=True, gone=0.1))
    assert made.news == {"ann": View(user="ann")}


def test_a_text_is_shown_at_once_also_while_an_absence_is_held_back() -> None:
    online = seen_by_others(ann(seat()))
    made = told(online, ann(text="bye", until=5, text_left=50.0, gone=1.0))
    assert (made.news["ann"].state, made.news["ann"].text) == ("online", "bye")
    assert made.due == {"ann": 1.0}


def test_a_text_that_ends_is_looked_at_again_when_it_does() -> None:
    assert told(None, ann(seat(), text="lunch", text_left=60.0)).due == {"ann": 60.0}


def test_whoever_is_seen_for_the_first_time_is_shown_as_they_are() -> None:
    assert told(None, ann(gone=0.1)).news["ann"].state == "offline"


@given(
    st.lists(st.tuples(st.floats(0.01, 1.9), st.sampled_from(["come", "go", "look"])), min_size=1)
)
def test_whoever_is_never_away_for_the_debounce_is_never_shown_as_gone(
    history: list[tuple[float, str]],
) -> None:
    """And everyone who watches at whatever moments is shown the truth once it has lasted."""
    now, left, sessions = 0.0, -100.0, 1
    shown = seen_by_others(ann(seat()))
    for wait, event in history:
        if sessions == 0 and now + wait - left >= DEBOUNCE_S:
            break
        now += wait
        if event == "come":
            sessions += 1
        elif event == "go" and sessions:
            sessions, left = sessions - 1, now
        here = ann(*[seat()] * sessions, gone=now - left)
        made = told(shown, here)
        assert made.news == {}
        shown = made.shown["ann"]
    settled = told(shown, ann(*[seat()] * sessions, gone=DEBOUNCE_S)).shown["ann"]
    assert settled.state == ("online" if sessions else "offline")
