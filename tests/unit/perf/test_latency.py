"""Latencies: what goes in comes out, and nothing is dropped."""

import pytest

from perf.latency import DIGITS, LONGEST_US, Latency, Summary


def test_a_percentile_is_within_the_promised_precision() -> None:
    latency = Latency()
    latency.extend(ms / 1000 for ms in range(1, 1001))
    for percent in (50, 90, 99):
        assert latency.percentile(percent) == pytest.approx(10 * percent, rel=10**-DIGITS * 2)


def test_a_value_beyond_the_range_is_counted_and_shows_in_the_maximum() -> None:
    latency = Latency()
    latency.extend([0.001, 2 * LONGEST_US / 1e6])
    summary = latency.summary()
    assert (summary.count, summary.overflows) == (2, 1)
    assert summary.max == 2 * LONGEST_US / 1000
    assert summary.p999 == pytest.approx(LONGEST_US / 1000, rel=0.01)


def test_without_samples_there_is_no_percentile_at_all() -> None:
    assert Latency().percentile(99) is None
    assert Latency().summary() == Summary()


def test_a_negative_duration_is_an_error_and_not_a_fast_answer() -> None:
    with pytest.raises(ValueError, match="two clocks"):
        Latency().record(-0.001)
