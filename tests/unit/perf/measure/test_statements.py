"""Percentiles from moments: exact in mean, close where times are log-normal, and subtractable."""

import random
from math import exp
from statistics import fmean, pstdev

import pytest

from perf.measure.statements import Z_P99, Moments

CHANCE = random.Random(1)
TIMES = [exp(CHANCE.gauss(0, 0.5)) for _ in range(20_000)]


def of(times: list[float]) -> Moments:
    return Moments.of(len(times), sum(times), pstdev(times))


def test_the_99th_percentile_of_log_normal_times_is_found_from_mean_and_deviation() -> None:
    assert of(TIMES).percentile(Z_P99) == pytest.approx(sorted(TIMES)[19_800], rel=0.05)
    assert of(TIMES).percentile(0) == pytest.approx(sorted(TIMES)[10_000], rel=0.05)


def test_what_came_since_is_as_if_it_had_been_counted_alone() -> None:
    spent = of(TIMES).since(of(TIMES[:5_000]))
    alone = of(TIMES[5_000:])
    assert spent.calls == alone.calls
    assert spent.total / spent.calls == pytest.approx(fmean(TIMES[5_000:]))
    assert spent.percentile(Z_P99) == pytest.approx(alone.percentile(Z_P99))


def test_times_that_are_all_the_same_have_one_percentile() -> None:
    assert of([2.0, 2.0, 2.0]).percentile(Z_P99) == pytest.approx(2.0)


def test_a_statement_that_takes_no_time_has_none() -> None:
    assert Moments(calls=3).percentile(Z_P99) == 0
