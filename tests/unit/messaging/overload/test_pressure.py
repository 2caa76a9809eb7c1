"""What is shed follows what stands, not what passes: first new connections, then history, then hints."""

from __future__ import annotations

import pytest

from messaging.overload.pressure import (
    BACKLOGS,
    CALM_S,
    FEW_AT_A_TIME,
    LOOKS,
    NO_HINTS,
    NO_HISTORY,
    Pressure,
)
from tests.unit.messaging.overload.clock import Clock


def looked(pressure: Pressure, times: int, *, lag_s: float = 0.0, backlog: float = 0.0) -> int:
    for _ in range(times):
        pressure.note(lag_s=lag_s, backlog=backlog)
    return pressure.level


@pytest.mark.parametrize(
    ("lag_s", "level"), [(0.4, 0), (0.5, FEW_AT_A_TIME), (1.0, NO_HISTORY), (2.0, NO_HINTS)]
)
def test_a_loop_that_stays_late_sheds_in_this_order(lag_s: float, level: int) -> None:
    assert looked(Pressure(shed_lag_s=0.5, clock=Clock()), LOOKS, lag_s=lag_s) == level


def test_a_journal_that_stays_full_sheds_all_before_it_refuses_a_send() -> None:
    levels = [looked(Pressure(shed_lag_s=0.5, clock=Clock()), LOOKS, backlog=b) for b in BACKLOGS]
    assert levels == [FEW_AT_A_TIME, NO_HISTORY, NO_HINTS]
    assert max(BACKLOGS) < 1


def test_a_pause_that_passes_sheds_nothing() -> None:
    """The garbage collector, a page that is loaded: the least lag of the last looks is none."""
    pressure = Pressure(shed_lag_s=0.5, clock=Clock())
    for _ in range(10):
        looked(pressure, LOOKS - 1, lag_s=9.0)
        assert looked(pressure, 1) == 0


def test_a_level_is_left_one_by_one_after_a_calm_second() -> None:
    clock = Clock()
    pressure = Pressure(shed_lag_s=0.5, clock=clock)
    assert looked(pressure, LOOKS, lag_s=2.0) == NO_HINTS
    assert looked(pressure, LOOKS) == NO_HINTS
    for level in (NO_HISTORY, FEW_AT_A_TIME, 0):
        clock.now += CALM_S
        assert looked(pressure, LOOKS) == level


def test_a_lag_of_nothing_in_the_settings_sheds_by_the_journal_only() -> None:
    assert looked(Pressure(shed_lag_s=0.0, clock=Clock()), LOOKS, lag_s=60.0) == 0
