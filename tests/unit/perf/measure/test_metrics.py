"""The server's page of metrics: read, subtracted, and interpolated."""

import pytest

from perf.measure.metrics import merged, parse, percentile_ms, plain, since

PAGE = """# HELP lockstep_statement_seconds Time of database statements.
lockstep_statement_seconds_bucket{le="0.001",statement="append"} 50.0
lockstep_statement_seconds_bucket{le="0.002",statement="append"} 100.0
lockstep_statement_seconds_bucket{le="+Inf",statement="append"} 100.0
lockstep_statement_seconds_bucket{statement="feed",le="0.001"} 1.0
lockstep_statement_seconds_bucket{statement="feed",le="0.002"} 1.0
lockstep_statement_seconds_bucket{statement="feed",le="+Inf"} 2.0
lockstep_statement_seconds_count{statement="feed"} 2.0
"""


def test_a_percentile_is_interpolated_inside_its_bucket() -> None:
    append = parse(PAGE)["append"]
    assert percentile_ms(append, 50) == pytest.approx(1.0)
    assert percentile_ms(append, 75) == pytest.approx(1.5)


def test_a_percentile_beyond_the_last_bound_is_at_least_that_bound() -> None:
    assert percentile_ms(parse(PAGE)["feed"], 99) == pytest.approx(2.0)


def test_only_what_came_between_two_readings_counts() -> None:
    buckets = parse(PAGE)
    assert percentile_ms(merged(since(buckets, buckets)), 99) is None
    fewer = {"append": buckets["append"]}
    assert merged(since(fewer, buckets))[float("inf")] == 2


def test_pages_of_two_servers_or_of_one_that_began_anew_have_no_difference() -> None:
    """Behind a balancer each may be another's; a percentile of fewer than none met every limit."""
    busy = parse(PAGE)
    other = {"append": {le: count / 2 for le, count in busy["append"].items()}}
    assert since(busy, other) == {}
    assert percentile_ms(merged(since(busy, other)), 99) is None


def test_without_a_first_page_nobody_knows_what_came_since() -> None:
    assert since({}, parse(PAGE)) == {}


def test_a_page_without_statements_has_no_percentile() -> None:
    assert percentile_ms(merged(parse("nothing here")), 99) is None


def test_figures_without_labels_are_gauges_or_counters() -> None:
    page = "# HELP x\nlockstep_sessions 7.0\nlockstep_batches_total 12.0\nlockstep_holes_created 1.7e9\n"
    gauges, counters = plain(page)
    assert gauges["sessions"] == 7
    assert counters == {"batches": 12}
