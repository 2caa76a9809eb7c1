"""The judge on trial: every good history is acquitted, every mutant convicted by its name and no other."""

import random
from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.checkers import NAMES, SECURITY, SOMETIMES, judge
from perf.checkers.planted import MUTANTS, Model, Mutant, story
from perf.checkers.planted.trials import named, plant
from perf.history.events import Change, StoredConversation

SEEDS = 40
number = st.integers(0, 59)


def convicted(model: Model, *, away: int) -> dict[str, list[str]]:
    judgement = judge(model.finish(away=away).evidence())
    assert judgement.anomalies or judgement.ledger.balanced, judgement.ledger
    return judgement.witnesses


@given(
    steps=st.lists(st.tuples(number, number, number), max_size=60),
    users=st.integers(1, 4),
    devices=st.integers(1, 3),
    workers=st.integers(1, 3),
    away=st.integers(0, 2),
)
def test_whatever_devices_do_with_a_faultless_service_is_acquitted(
    steps: list[tuple[int, int, int]], users: int, devices: int, workers: int, away: int
) -> None:
    model = Model(users=users, devices=devices, workers=workers)
    model.play(steps)
    assert convicted(model, away=away) == {}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.anomaly}: {one.title}")
def test_a_mutant_is_convicted_by_its_name_and_by_no_other(mutant: Mutant) -> None:
    histories = (plant(mutant, seed=seed) for seed in range(SEEDS * 5))
    planted = list(islice((history for history in histories if history is not None), 2))
    assert len(planted) == 2, "too few histories offer an opportunity"
    for history in planted:
        judgement = judge(history.evidence())
        assert named(judgement) == {mutant.anomaly}
        assert judgement.witnesses[mutant.anomaly][0].endswith(".")


def test_there_is_a_mutant_for_every_anomaly() -> None:
    assert {mutant.anomaly for mutant in MUTANTS} == set(NAMES)
    assert set(NAMES) >= SECURITY


def test_good_histories_come_by_every_situation_and_test_every_property() -> None:
    seen, tested = set[str](), set[str]()
    for seed in range(SEEDS):
        judgement = judge(story(seed).evidence())
        seen |= set(judgement.happened)
        tested |= {name for name, times in judgement.checked.items() if times}
    assert seen == set(SOMETIMES)
    assert tested == set(NAMES)


def test_equal_seeds_make_equal_histories() -> None:
    one, other = story(7), story(7)
    assert (one.files, one.stored) == (other.files, other.stored)


def test_a_history_with_edits_during_an_offline_period_is_acquitted() -> None:
    """The device that was away gets only the newest state of each message."""
    model = Model(users=2, devices=1, rooms=1, workers=1)
    send, everyone, answer, disconnect, reconnect, feed = 0, 1, 2, 9, 10, 5
    model.play([(send, 0, 1), (answer, 0, 0), (everyone, 0, 0), (disconnect, 1, 0)])
    model.play([(send, 0, 6), (answer, 0, 0), (send, 0, 6), (answer, 0, 0), (everyone, 0, 0)])
    model.play([(reconnect, 1, 0), (feed, 1, 99)])
    history = model.finish(away=0)
    judgement = judge(history.evidence())
    assert judgement.witnesses == {}
    assert judgement.tolerated["superseded"] > 0
    assert "edit while offline" in judgement.happened


@given(seed=st.integers(0, 200), altered=st.integers(0, 10_000))
def test_one_altered_body_is_never_overlooked(seed: int, altered: int) -> None:
    history = story(seed)
    line = random.Random(altered).choice(history.all_stored(StoredConversation))
    own = [row for row in line.changes if row.client_id and not row.deleted and row.version == 1]
    if own:
        history.alter_stored(line, with_other_body(line, own[altered % len(own)]))
        assert judge(history.evidence()).counts["corrupt"]


def with_other_body(line: StoredConversation, row: Change) -> StoredConversation:
    rows = tuple(one._replace(digest=one.digest ^ 1) if one == row else one for one in line.changes)
    return msgspec.structs.replace(line, changes=rows)
