"""A soak's verdict: from days, of which any may be bad, too few, or slower and larger than the one before."""

from pathlib import Path
from typing import Any

import pytest

from perf.checkers import Judgement
from perf.history.rundir import RunDirectory
from perf.measure.quiet import EXACT, Inside, Sample
from perf.rig.children import RigError
from perf.scenario import Findings, Options
from perf.scenarios import soak
from perf.scenarios.parts import ledger as ledgers
from perf.scenarios.parts import shifts
from perf.scenarios.parts.ledger import Ledger
from perf.scenarios.parts.shelves import Compared
from perf.scenarios.parts.shifts import Shift

OPTIONS = Options(seed=1, duration_s=1800.0)
ENOUGH = 30


def shift(number: int, *, ms: float = 3.0, lost: int = 0, answered: int = 100, **other: Any) -> Shift:  # fmt: skip
    judged = Judgement(messages=700, deliveries=40_000, expected=40_000, promises=600)
    judged.check("lost", times=40_000)
    for _ in range(lost):
        judged.convict("lost", "a change is missing")
    day = Shift(
        number=number,
        directory=RunDirectory(path=Path("nowhere")),
        judgement=judged,
        compared=Compared(devices=150, equal=150, messages=700),
        asked=100,
        answered=answered,
        opened=300,
        connections=150,
        messages=700,
        back_s=[1.5],
        **other,
    )
    day.live.extend([ms / 1000] * 20)
    return day


def sample(*, blocks: int = 1_000_000, **exact: int) -> Sample:
    inside = Inside(blocks=blocks, objects=blocks // 3, tasks=5, in_use=None, types={"dict": 7})
    return Sample(
        exact={**dict.fromkeys(EXACT, 5), **exact}, inside=inside, uss=70 << 20, rss=80 << 20
    )


def lived(days: int = ENOUGH, *, leaking: int = 0, slower_ms: float = 0.0) -> Ledger:
    ledger = Ledger()
    for number in range(1, days + 1):
        day = shift(number, ms=3.0 + slower_ms * number)
        ledger.add(day, sample(blocks=1_000_000 + leaking * number))
    return ledger


def verdict(ledger: Ledger, *, interrupted: bool = False) -> Findings:
    return soak.findings(ledger, OPTIONS, interrupted=interrupted, passed_s=900.0)


def measured(found: Findings, key: str) -> float | None:
    (one,) = [one.measured for one in found.outcomes if one.name.startswith(f"{key} ")]
    return one


def test_days_without_a_fault_are_valid() -> None:
    found = verdict(lived())
    assert found.verdict == "valid", found.problems
    assert (measured(found, "T9"), measured(found, "T17"), measured(found, "E2")) == (100, 0, 0)


def test_too_few_days_say_nothing_of_leaks() -> None:
    found = verdict(lived(5))
    assert (found.verdict, measured(found, "T17"), measured(found, "E2")) == ("unknown", None, None)


def test_blocks_that_stay_of_every_connection_are_a_leak() -> None:
    found = verdict(lived(leaking=400))
    assert found.verdict == "invalid"
    assert measured(found, "T17") == 2
    assert found.figures["verdict"] == "leak:python"


def test_latency_that_doubles_is_a_drift() -> None:
    found = verdict(lived(slower_ms=0.2))
    assert found.verdict == "invalid"
    assert (measured(found, "E2") or 0) > 50


def test_an_anomaly_of_one_day_fails_all_and_names_the_day() -> None:
    ledger = lived(3)
    ledger.add(shift(4, lost=1), sample())
    found = verdict(ledger)
    assert found.verdict == "invalid"
    assert found.judgement.witnesses["lost"] == ["day 4: a change is missing"]
    assert ledger.rows[-1]["wrong"] == 1


def test_a_device_that_differs_from_the_database_fails_all() -> None:
    ledger, differs = lived(3), shift(4)
    differs.compared = Compared(devices=150, equal=149, messages=700, differences=("device 7",))
    ledger.add(differs, sample())
    found = verdict(ledger)
    assert found.verdict == "invalid"
    assert "day 4: device 7" in ledger.compared.outcome().source


def test_a_door_that_is_shut_for_longer_than_a_thousandth_is_down() -> None:
    ledger = lived()
    ledger.add(shift(31, answered=90), sample())
    assert verdict(ledger).verdict == "invalid"


def test_a_door_that_only_a_late_generator_found_shut_is_unknown() -> None:
    ledger = lived()
    ledger.add(shift(31, answered=90, doubt="its timers were late"), sample())
    found = verdict(ledger)
    assert (found.verdict, measured(found, "T9")) == ("unknown", None)
    ledger.add(shift(32, answered=90), sample())
    assert verdict(ledger).verdict == "invalid"


@pytest.mark.parametrize("name", EXACT)
def test_what_is_left_in_the_night_beyond_what_a_pool_keeps_is_told(name: str) -> None:
    ledger = lived(5)
    allowed = 5 + ledgers.ROOM.get(name, 0)
    ledger.add(shift(6), sample(**{name: allowed}))
    assert verdict(ledger).broken == []
    ledger.add(shift(7), sample(**{name: allowed + 1}))
    (problem,) = verdict(ledger).broken
    assert f"1 {name}" in problem


def test_what_one_of_the_first_days_had_is_no_leftover() -> None:
    ledger = Ledger()
    for number, threads in enumerate((4, 6, 5, 6, 6), 1):
        ledger.add(shift(number), sample(threads=threads))
    assert verdict(ledger).broken == []


def test_an_interrupted_soak_is_unknown_and_says_how_far_it_came() -> None:
    found = verdict(lived(), interrupted=True)
    assert found.verdict == "unknown"
    assert "interrupted after 0.25 of 0.50 hours" in found.problems[-1]


def test_nothing_at_all_is_unknown() -> None:
    assert verdict(Ledger(), interrupted=True).verdict == "unknown"


def test_a_day_that_could_not_be_lived_is_told_and_fails_the_run() -> None:
    ledger = lived(3)
    ledger.fail(4, ExceptionGroup("side by side", [RigError("the server ended\nlog")]))
    assert verdict(ledger).broken == ["day 4 was not lived to its end: the server ended"]
    assert verdict(ledger).verdict == "invalid"


def test_many_days_are_remembered_in_little_and_shown_in_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledgers, "ROWS", 20)
    ledger = lived(60)
    ledger.add(shift(61, lost=1), sample())
    ledger.add(shift(62), sample())
    rows = ledger.table()
    assert len(rows) <= 20 + 2
    assert any(row["day"] == 61 for row in rows)
    assert rows[-1]["day"] == 62
    assert sum(bool(one.inside.types) for one in ledger.samples) <= 5


def test_of_bad_days_only_the_histories_of_the_first_are_kept(tmp_path: Path) -> None:
    run = RunDirectory(path=tmp_path)
    shifts.prune(run)
    for number in range(1, 2 * shifts.KEPT):
        run.within(f"days/{number:05}")
    shifts.prune(run)
    kept = sorted(int(path.name) for path in (tmp_path / "days").iterdir())
    assert kept == list(range(1, shifts.KEPT + 1))


def test_the_series_of_two_days_has_no_more_lines_than_that_of_two_hours() -> None:
    two_days = Options(seed=1)
    assert soak.seconds_of(two_days) == 48 * 3600
    assert soak.seconds_of(two_days) / soak.every_s(two_days) <= soak.LINES
    assert soak.every_s(OPTIONS) == 1.0
