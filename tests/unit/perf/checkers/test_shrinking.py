"""A failing history is made small without becoming another one."""

import random

import pytest

from perf.checkers import judge
from perf.checkers.planted import MUTANTS, Model, Mutant
from perf.checkers.planted.trials import named, plant
from perf.checkers.shrinking import shrink
from perf.checkers.subsets import without_messages
from perf.history.events import StoredConversation
from perf.history.memory import History

MOST_EVENTS = 20  # of hundreds


def planted(mutant: Mutant) -> History:
    return next(history for seed in range(200) if (history := plant(mutant, seed=seed)) is not None)


@pytest.mark.parametrize(
    "mutant",
    {one.anomaly: one for one in MUTANTS}.values(),
    ids=lambda one: one.anomaly,
)
def test_every_anomaly_shrinks_to_a_few_events_and_stays_what_it_was(mutant: Mutant) -> None:
    history = planted(mutant)
    witness = judge(history.evidence()).found[mutant.anomaly][0]
    small = shrink(history, mutant.anomaly, witness)
    assert named(judge(small.evidence())) == {mutant.anomaly}
    assert sum(len(events) - 2 for events in small.files) <= MOST_EVENTS < 300
    assert sum(map(len, history.files)) > 10 * sum(len(events) - 2 for events in small.files)


def test_without_time_the_history_stays_as_it_is() -> None:
    history = planted(MUTANTS[0])
    witness = judge(history.evidence()).found["lost"][0]
    small = shrink(history, "lost", witness, budget_s=0)
    assert named(judge(small.evidence())) == {"lost"}


@pytest.mark.parametrize("seed", range(10))
def test_a_good_history_without_some_messages_is_a_good_history(seed: int) -> None:
    chance = random.Random(seed)
    model = Model(users=3, devices=2)
    send, live, answer, feed, disconnect, reconnect = 0, 1, 2, 5, 9, 10
    acts = (send, send, live, answer, feed, disconnect, reconnect)
    model.play(
        (chance.choice(acts), chance.randrange(60), chance.randrange(60)) for _ in range(120)
    )
    history = model.finish()
    messages = [row.id for line in history.all_stored(StoredConversation) for row in line.changes]
    some = chance.sample(messages, len(messages) // 2)
    judgement = judge(without_messages(history, some).evidence())
    assert set(judgement.witnesses) <= {"gap"}  # where nobody saw what had been edited away
    assert judgement.messages < len(messages)
