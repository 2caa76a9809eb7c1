"""What the judge says besides guilty: what it tolerates, what it can't know, and how sure it is."""

import random
from typing import Literal

import msgspec
import pytest

from perf.checkers import NAMES, SOMETIMES, TOLERATED, judge
from perf.checkers.planted import Model, story
from perf.checkers.planted.trials import named
from perf.history.events import (
    Acked,
    AnyEvent,
    Change,
    Closed,
    Cursors,
    Delivered,
    DeviceMade,
    Fault,
    Marked,
    MarkSeen,
    Opened,
    Page,
    PresenceSeen,
    Refused,
    Removed,
    Reset,
    RunBegan,
    RunEnded,
    Sent,
    Stay,
    StoredConversation,
)
from perf.history.reader import Evidence, gather

ROOM = "room"
SECOND = 1_000_000_000


def row(seq: int) -> Change:
    return Change(seq, f"m{seq}", seq, 1, None, None, seq)


def page(number: int, since: int, upto: int) -> Page:
    changes = tuple(row(seq) for seq in range(since + 1, upto + 1))
    return Page(2, number, ROOM, since, upto, changes)


def evidence(*events: AnyEvent, last: int) -> Evidence:
    """One device of a member, which has a session from the beginning."""
    begin: list[AnyEvent] = [
        RunBegan(0, "run", "test", 0),
        DeviceMade(0, 1, "d1", "u"),
        DeviceMade(0, 2, "d2", "u"),
        Opened(1, 1, "s1", {ROOM: 0}, {}),
        Opened(1, 2, "s2", {ROOM: 0}, {}),
    ]
    rows = tuple(row(seq) for seq in range(1, last + 1))
    stored = [StoredConversation(ROOM, 0, last, "all", rows), Stay(ROOM, "u", 0, None)]
    return gather([[*begin, *events, RunEnded(99 * SECOND)]], stored)  # type: ignore[arg-type]


def test_all_names_are_always_there() -> None:
    judgement = judge(Evidence())
    assert set(judgement.counts) == set(NAMES)
    assert set(judgement.tolerated) == set(TOLERATED)
    assert not judgement.exercised


def test_what_was_never_tested_is_unknown_if_it_was_a_goal_and_else_only_named() -> None:
    judgement = judge(Evidence(), goals=["lost", "resume"])
    assert {one.name: one.met for one in judgement.coverage} == {"lost": None, "resume": None}
    assert set(judgement.untested) == {*NAMES, *SOMETIMES} - {"lost", "resume"}


def test_a_goal_that_the_run_came_by_is_met() -> None:
    covered = {one.name: one for one in judge(story(1).evidence(), goals=["resume"]).coverage}
    assert covered["resume"].met
    assert covered["lost"].met


def test_what_a_device_lacks_that_was_away_at_the_end_is_pending() -> None:
    away = Cursors(9, 2, {ROOM: 0}, connected=False)
    here = Cursors(9, 1, {ROOM: 2}, connected=True)
    judgement = judge(evidence(page(1, 0, 2), Delivered(3, 1, 1), here, away, last=2))
    assert judgement.witnesses == {}
    assert (judgement.ledger.delivered, judgement.ledger.pending) == (2, 2)
    assert judgement.ledger.balanced


def test_what_is_pending_was_not_due_and_says_nothing_of_what_is_lost() -> None:
    """Everybody was away in the end: nothing is lost, and nothing was tested."""
    away = [Cursors(9, device, {ROOM: 0}, connected=False) for device in (1, 2)]
    judgement = judge(evidence(*away, last=2), goals=["lost"])
    assert (judgement.expected, judgement.ledger.pending) == (0, 4)
    assert {one.name: one.met for one in judgement.coverage}["lost"] is None


def test_a_device_that_never_said_where_it_ended_leaves_the_verdict_open() -> None:
    """Nothing of it is lost: nobody knows that it was there. So nobody knows that nothing is lost."""
    judgement = judge(evidence(Cursors(9, 1, {ROOM: 0}, connected=False), last=2))
    assert judgement.problems == [
        "1 devices did not say where they were in the end, so nothing of theirs counts as lost"
    ]


@pytest.mark.parametrize(("stayed", "lost"), [(1, 0), (30, 2)])
def test_who_leaves_while_others_go_on_lacks_only_what_was_known_long_before(
    stayed: int, lost: int
) -> None:
    leaves = Cursors((3 + stayed) * SECOND, 2, {ROOM: 0}, connected=True)
    judgement = judge(
        evidence(
            page(1, 0, 2),
            Delivered(3 * SECOND, 1, 1),
            leaves,
            page(2, 2, 3),
            Delivered(50 * SECOND, 1, 2),
            Cursors(60 * SECOND, 1, {ROOM: 3}, connected=True),
            last=3,
        )
    )
    assert judgement.counts["lost"] == lost


def test_the_answer_to_a_question_may_overlap_with_what_came_meanwhile() -> None:
    """A frame is skipped; while the device asks, the missing one comes after all."""
    end = [Cursors(9, device, {ROOM: 3}, connected=device == 1) for device in (1, 2)]
    skipped = [page(1, 0, 1), page(2, 1, 2), page(3, 2, 3), page(4, 1, 3)]
    got = [Delivered(3, 1, number) for number in (1, 3, 2, 4)]
    judgement = judge(evidence(*skipped, *got, *end[:1], last=3))
    assert named(judgement) == {"reordered"}
    assert judgement.tolerated["repeated after a question"] == 1


def test_a_request_without_an_answer_may_be_stored_or_not() -> None:
    sent = [Sent(3, 1, 3, f"run.1.{number}", ROOM, 5) for number in (1, 2)]
    stored = Change(1, "m1", 1, 1, "d1", "run.1.1", 5)
    found = evidence(*sent, last=0)
    found.conversations[ROOM] = StoredConversation(ROOM, 0, 1, "all", (stored,))
    judgement = judge(found)
    assert judgement.witnesses == {}
    assert judgement.ledger.indeterminate == 2
    assert judgement.ledger.recovered == judgement.tolerated["recovered"] == 1


@pytest.mark.parametrize(("definite", "found"), [(False, set()), (True, {"aborted read"})])
def test_an_attempt_that_nobody_knew_the_end_of_may_be_stored_though_the_next_is_refused_for_good(
    definite: bool, found: set[str]
) -> None:
    """The database was gone when it was to answer; the sender had left when it was asked again."""
    asked = [
        Sent(3, 1, 3, "run.1.1", ROOM, 5),
        Refused(4, 1, "run.1.1", "database_unavailable", definite=definite, final=False),
        Refused(5, 1, "run.1.1", "forbidden", definite=True, final=True),
    ]
    judged = evidence(*asked, last=0)
    stored = Change(1, "m1", 1, 1, "d1", "run.1.1", 5)
    judged.conversations[ROOM] = StoredConversation(ROOM, 0, 1, "all", (stored,))
    assert named(judge(judged)) == found


def test_what_nobody_of_the_run_wrote_and_who_had_to_begin_anew_is_counted() -> None:
    """Neither can be judged from a history: a reader has to see how much there is of it."""
    anew: list[AnyEvent] = [
        page(1, 0, 2),
        Delivered(3, 1, 1),
        Reset(4, 1, ROOM),
        Delivered(5, 1, 1),
    ]
    ends = [Cursors(9, 1, {ROOM: 2}, connected=True), Cursors(9, 2, {ROOM: 0}, connected=False)]
    judgement = judge(evidence(*anew, *ends, last=2))
    assert judgement.witnesses == {}
    assert (judgement.tolerated["written elsewhere"], judgement.tolerated["begun anew"]) == (2, 1)


def test_marks_may_be_older_just_after_a_welcome_but_not_later() -> None:
    marks = [MarkSeen(t, 1, ROOM, "x", delivered, 0) for t, delivered in ((5, 9), (6, 7))]
    assert judge(evidence(*marks, last=0)).tolerated["marks read again"] == 1
    late = [msgspec.structs.replace(mark, t=mark.t + 5 * SECOND) for mark in marks]
    assert judge(evidence(*late, last=0)).counts["receipt regression"] == 1


@pytest.mark.parametrize(("ended", "lost"), [(20.1, 0), (28, 1)])
def test_a_mark_that_was_said_just_before_its_session_ended_need_not_be_shown(
    ended: float, lost: int
) -> None:
    events: list[AnyEvent] = [
        Marked(5 * SECOND, 1, ROOM, 1, 0),
        MarkSeen(5 * SECOND + 1, 2, ROOM, "d1", 1, 0),
        Marked(20 * SECOND, 1, ROOM, 2, 0),
        Closed(int(ended * SECOND), 1, 1012, "server"),
        Cursors(40 * SECOND, 2, {ROOM: 2}, True),
    ]
    sentences = judge(evidence(*events, last=2)).witnesses.get("lost receipt", [])
    assert sum("was never shown" in one for one in sentences) == lost


@pytest.mark.parametrize(("told", "lost"), [(True, 0), (False, 1)])
def test_what_was_said_while_a_user_was_out_need_not_be_shown_to_who_came_back_later(
    told: bool, lost: int
) -> None:
    """A device hears that its user has left, and loses its connection; then the user is brought back."""
    left: list[AnyEvent] = [Removed(2 * SECOND, 2, ROOM, 1)] if told else []
    found = evidence(
        *left,
        Marked(5 * SECOND, 1, ROOM, 1, 0),
        Closed(20 * SECOND, 2, 1006, "server"),
        Cursors(40 * SECOND, 1, {ROOM: 2}, True),
        Cursors(40 * SECOND, 2, {ROOM: 1}, False),
        last=2,
    )
    found.logs[2].device = DeviceMade(0, 2, "d2", "v")
    found.stays += [Stay(ROOM, "v", 0, 1 if told else None)]
    found.stays += [Stay(ROOM, "v", 2, None)] if told else []
    sentences = judge(found).witnesses.get("lost receipt", [])
    assert sum("Device 2 was never shown" in one for one in sentences) == lost


@pytest.mark.parametrize("seed", range(20))
def test_a_history_that_was_cut_off_is_judged_as_far_as_it_goes(seed: int) -> None:
    history = story(seed)
    for events in history.files:
        del events[len(events) * 2 // 3 :]
    judgement = judge(history.evidence())
    assert judgement.witnesses == {}
    assert any("cut off" in problem for problem in judgement.problems)


def test_who_came_back_after_their_worker_had_died_is_no_ghost() -> None:
    """Its file ends while they are away; the other's goes on, and says that they are here again."""
    died: list[AnyEvent] = [
        RunBegan(0, "run", "test", 0, 1),
        DeviceMade(0, 1, "d1", "u"),
        Opened(SECOND, 1, "s1", {}, {}),
        Closed(2 * SECOND, 1, 1006, "server"),
    ]
    lived: list[AnyEvent] = [
        RunBegan(0, "run", "test", 0, 2),
        DeviceMade(0, 2, "d2", "v"),
        Opened(SECOND, 2, "s2", {}, {}),
        PresenceSeen(10 * SECOND, 2, "u", "online", 1),
        Cursors(50 * SECOND, 2, {}, True),
        RunEnded(50 * SECOND),
    ]
    assert judge(gather([died, lived], [])).witnesses == {}
    assert named(judge(gather([[*died, RunEnded(50 * SECOND)], lived], []))) == {"ghost online"}


MOVE = 13  # the model's act by which a user leaves or is added


@pytest.mark.parametrize("seed", range(20))
def test_without_the_database_what_others_saw_stands_in_for_the_truth(seed: int) -> None:
    chance = random.Random(seed)
    model = Model(users=3, devices=2)
    steps = [tuple(chance.randrange(60) for _ in range(3)) for _ in range(150)]
    model.play((act, one, other) for act, one, other in steps if act % 21 != MOVE)
    history = model.finish()
    history.stored = None
    judgement = judge(history.evidence())
    assert judgement.witnesses == {}
    assert judgement.problems == ["what is stored was not compared"]


def test_without_the_database_a_device_that_lacks_what_another_saw_is_found() -> None:
    last = [Cursors(9, device, {ROOM: 3 - device}, connected=True) for device in (1, 2)]
    found = evidence(
        page(1, 0, 2), page(2, 0, 1), Delivered(3, 1, 1), Delivered(3, 2, 2), *last, last=2
    )
    found.compared, found.conversations, found.stays = False, {}, []
    assert named(judge(found)) == {"lost"}


def test_recovery_is_timed_from_the_last_healed_fault() -> None:
    heal = Fault(4, "cut", "end", "redis")
    end = [Cursors(9, 1, {ROOM: 2}, connected=True)]
    judgement = judge(
        evidence(page(1, 0, 2), Delivered(3, 2, 1), heal, Delivered(1_000_004, 1, 1), *end, last=2)
    )
    assert judgement.liveness.healed == 4
    assert judgement.liveness.converged_ms == [1.0]
    assert judgement.liveness.behind == 0


def test_an_anomaly_comes_with_a_sentence_and_the_lines_that_show_it() -> None:
    got = [Delivered(3, 1, 1), Delivered(4, 1, 1)]
    end = Cursors(9, 1, {ROOM: 2}, connected=True)
    judgement = judge(evidence(page(1, 0, 2), *got, end, last=2))
    assert judgement.witnesses["duplicated"] == [
        "Device 1 of user u received changes (0, 2] of conversation room though it had everything "
        "up to 2 on the same connection."
    ]
    assert [line.split(",")[0] for line in judgement.excerpts["duplicated"]] == [
        '["open"',
        '["page"',
        '["got"',
        '["got"',
        '["cursors"',
    ]


def test_the_ledger_balances_in_a_good_run_and_is_a_property_of_its_own() -> None:
    covered = {one.name: one for one in judge(story(2).evidence()).coverage}
    assert covered["ledger"].met
    assert "obligations" in covered["ledger"].witness


def test_the_ledger_of_a_run_that_lost_something_does_not_balance() -> None:
    lost = Cursors(9, 1, {ROOM: 0}, connected=True)
    judgement = judge(evidence(lost, last=2))
    assert named(judgement) == {"lost"}
    assert not judgement.ledger.balanced


@pytest.mark.parametrize(
    ("what", "lost", "crossed"),
    [("send", False, 1), ("send", True, 1), ("edit", False, 1), ("edit", True, 0)],
)
def test_an_edit_loses_its_place_before_a_send_only_when_its_connection_is_lost(
    what: Literal["send", "edit"], lost: bool, crossed: int
) -> None:
    """It is repeated later then, and what it is based on tells whether it still applies; sends keep their order."""
    ends: list[AnyEvent] = [Closed(4, 1, 1006, "server"), Opened(5, 1, "s3", {ROOM: 0}, {})]
    first = Sent(2, 1, 2, "run.1.1", ROOM, 5, what, "m1" if what == "edit" else None)
    second = Sent(3, 1, 3, "run.1.2", ROOM, 6)
    answers = [Acked(6, 1, "run.1.2", "m2", 2, 2, 1), Acked(7, 1, "run.1.1", "m1", 3, 3, 1)]
    found = evidence(first, second, *(ends if lost else ()), *answers, last=3)
    assert judge(found).counts["nonmonotonic send"] == crossed
