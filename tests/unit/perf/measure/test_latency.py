"""Latencies: what goes in comes out, and nothing is dropped."""

import msgspec
import pytest
from hdrh.histogram import HdrHistogram

from perf.measure.latency import DIGITS, LONGEST_US, Latency, Packed, Summary


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


def spread() -> list[float]:
    return [0.0, *(1.0005**step / 1e6 for step in range(1, 35_800, 7))]


def test_counting_in_bulk_gives_what_the_library_gives_one_by_one() -> None:
    latency = Latency()
    one_by_one = HdrHistogram(1, LONGEST_US, DIGITS)
    for seconds in spread():
        latency.record(seconds)
        one_by_one.record_value(min(max(1, round(seconds * 1e6)), LONGEST_US))
    for percent in (0.1, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100):
        expected = one_by_one.get_value_at_percentile(percent) / 1000
        assert latency.percentile(percent) == expected


def test_a_full_buffer_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perf.measure.latency.BUFFER", 10)
    latency = Latency()
    latency.extend(ms / 1000 for ms in range(1, 106))
    assert latency.count == latency.summary().count == 105
    assert latency.percentile(100) == pytest.approx(105, rel=0.001)


def test_histograms_of_two_processes_add_up_to_that_of_one() -> None:
    whole, parts = Latency(), (Latency(), Latency())
    for index, seconds in enumerate([*spread(), 100.0]):
        whole.record(seconds)
        parts[index % 2].record(seconds)
    merged = Latency()
    for part in parts:
        sent = msgspec.json.encode(part.packed())
        merged.merge(Latency.unpacked(msgspec.json.decode(sent, type=Packed)))
    ours, theirs = merged.summary(), whole.summary()
    assert ours.overflows == 1
    assert msgspec.structs.replace(ours, mean=None) == msgspec.structs.replace(theirs, mean=None)
    assert ours.mean == pytest.approx(theirs.mean)
