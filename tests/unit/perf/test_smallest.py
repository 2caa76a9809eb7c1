"""A failing run is made small: the same anomaly in a few lines, which can be judged again."""

from pathlib import Path

from perf.checkers import judge
from perf.checkers.planted import MUTANTS
from perf.checkers.planted.trials import named, plant
from perf.history.reader import load
from perf.history.rundir import RunDirectory
from perf.smallest import read, write_smallest

SEED = 11


def test_a_failing_run_gets_a_small_history_beside_it(tmp_path: Path) -> None:
    run = RunDirectory(path=tmp_path)
    mutant = next(one for one in MUTANTS if one.title == "two frames change places")
    history = plant(mutant, seed=SEED)
    assert history is not None
    history.write(run)
    found = write_smallest(run, judge(load(run)))
    assert found == {"reordered": tmp_path / "smallest" / "reordered"}
    small = load(found["reordered"])
    assert named(judge(small)) == {"reordered"}
    assert small.deliveries < 10 < load(run).deliveries


def test_a_good_run_gets_none(tmp_path: Path) -> None:
    run = RunDirectory(path=tmp_path)
    assert write_smallest(run, judge(load(run))) == {}


def test_only_the_conversation_in_question_is_read(tmp_path: Path) -> None:
    run = RunDirectory(path=tmp_path)
    history = plant(MUTANTS[0], seed=SEED)
    assert history is not None
    history.write(run)
    evidence = read(run, "room-0").evidence()
    assert {page.conversation for page in evidence.pages} == {"room-0"}
    assert set(evidence.conversations) == {"room-0"}
    assert evidence.whole
