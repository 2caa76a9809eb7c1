"""A device goes on at its own cursor, else at its stored mark, else where the stay begins."""

from __future__ import annotations

import pytest

from messaging.protocol.frames import Conversation, ConversationState, Hello, Left, Reset
from messaging.protocol.server.actions import Standing
from messaging.protocol.server.resume import Resumption, listed, rejoin, resume, start

HERE = "10000000-0000-4000-8000-000000000000"


def standing(
    *,
    last_seq: int = 20,
    joined: int = 5,
    left: int | None = None,
    delivered: int | None = None,
    since_joined: bool = False,
    purged: int = 0,
) -> Standing:
    return Standing(
        conversation=HERE,
        kind="group",
        title="Team",
        last_seq=last_seq,
        joined_seq=joined,
        left_seq=left,
        delivered=delivered,
        since_joined=since_joined,
        purged=purged,
    )


def plan(it: Standing, cursor: int | None, *, epoch: str | None = "e") -> Resumption:
    cursors = {} if cursor is None else {HERE: cursor}
    return resume(Hello(cursors=cursors, epoch=epoch), [it], epoch="e")


def conversations(found: Resumption) -> list[str]:
    """Those that start anew."""
    return [reset.conversation for reset in found.resets]


def starts(found: Resumption) -> list[int]:
    return [since for _, since in found.starts]


def test_device_goes_on_at_its_own_cursor() -> None:
    found = plan(standing(delivered=15), 12)
    assert starts(found) == [12]
    assert [state.since for state in found.listed] == [12]
    assert found.cursors == {}  # the feed has it
    assert found.resets == []


def test_own_cursor_is_not_jumped_over_even_where_history_is_hidden() -> None:
    """Else the client would see a hole and ask."""
    assert starts(plan(standing(joined=15, since_joined=True), 7)) == [7]


def test_device_without_a_cursor_goes_on_at_its_stored_mark() -> None:
    assert starts(plan(standing(delivered=15), None)) == [15]


def test_device_without_cursor_and_mark_begins_with_the_stay() -> None:
    assert starts(plan(standing(), None)) == [4]
    assert starts(plan(standing(joined=0), None)) == [0]


def test_device_that_has_everything_follows_and_is_told_nothing() -> None:
    found = plan(standing(), 20)
    assert starts(found) == [20]
    assert found.listed == []


def test_device_without_a_cursor_is_told_where_it_stands_even_if_it_lacks_nothing() -> None:
    found = plan(standing(delivered=20), None)
    assert [(state.since, state.last_seq) for state in found.listed] == [(20, 20)]


def test_former_member_gets_the_rest_of_the_stay() -> None:
    found = plan(standing(left=10), 8)
    assert starts(found) == [8]
    assert [state.last_seq for state in found.listed] == [10]


def test_former_member_who_has_the_whole_stay_gets_nothing() -> None:
    for cursor in (10, 12):
        found = plan(standing(left=10), cursor)
        assert (found.starts, found.listed) == ([], [])
        assert found.cursors == {HERE: cursor}  # it goes on there when the user is back
        assert found.over == [Left(conversation=HERE, upto=10)]  # it may not have heard so
    assert plan(standing(left=10, delivered=10), None).listed == []


def test_cursor_beyond_the_last_change_starts_from_0() -> None:
    found = plan(standing(), 21)
    assert conversations(found) == [HERE]
    assert starts(found) == [0]


def test_every_cursor_of_another_epoch_starts_from_0() -> None:
    found = plan(standing(since_joined=True), 3, epoch="older")
    assert conversations(found) == [HERE]
    assert starts(found) == [0]


@pytest.mark.parametrize(("cursor", "anew"), [(0, False), (1, True), (7, True), (8, False)])
def test_cursor_below_what_is_gone_for_real_starts_from_0(
    cursor: int,
    *,
    anew: bool,
) -> None:
    found = plan(standing(purged=8), cursor)
    assert conversations(found) == [HERE] * anew
    assert starts(found) == [0 if anew else cursor]


@pytest.mark.parametrize(("told", "anew"), [(7, True), (8, False)])
def test_cursor_that_started_anew_after_all_that_is_gone_had_gone_goes_on(
    told: int, *, anew: bool
) -> None:
    hello = Hello(cursors={HERE: 3}, purged={HERE: told})
    found = resume(hello, [standing(purged=8)], epoch="e")
    assert found.resets == [Reset(conversation=HERE, purged=8)] * anew
    assert starts(found) == [0 if anew else 3]


def test_who_left_and_has_all_of_the_stay_does_not_start_anew() -> None:
    """What is gone above it was never theirs: they would start anew at each hello, and be below it again."""
    found = plan(standing(left=8, purged=12), 8)
    assert (found.resets, found.starts, found.cursors) == ([], [], {HERE: 8})
    assert conversations(plan(standing(left=8, purged=12), 7)) == [HERE]


def test_cursor_without_an_epoch_is_believed() -> None:
    assert plan(standing(), 3, epoch=None).resets == []


def test_cursor_of_a_conversation_that_the_user_never_was_in_is_named() -> None:
    elsewhere = "20000000-0000-4000-8000-000000000000"
    found = resume(Hello(cursors={HERE: 20, elsewhere: 3}), [standing()], epoch="e")
    assert (found.foreign, found.resets) == ([elsewhere], [])


def test_conversation_is_shown_the_same_way_in_welcome_and_alone() -> None:
    state = listed(standing(), 7)
    fields = {"conversation": HERE, "kind": "group", "since": 7, "last_seq": 20, "title": "Team"}
    assert state == ConversationState(**fields)  # type: ignore[arg-type]
    assert rejoin(standing(), 7) == (7, [Conversation(**fields)])  # type: ignore[arg-type]


def test_start_of_a_stay_is_the_change_before_it() -> None:
    assert start(standing(), None) == standing().first == 4
    assert (standing().last, standing(left=9).last) == (20, 9)


def test_whoever_left_is_told_no_title_of_afterwards() -> None:
    """It may have been set since, and is beyond the fence then."""
    assert [state.title for state in plan(standing(left=15), 10).listed] == [""]
    assert [state.title for state in plan(standing(left=20), 10).listed] == ["Team"]
    assert [state.title for state in plan(standing(), 10).listed] == ["Team"]
