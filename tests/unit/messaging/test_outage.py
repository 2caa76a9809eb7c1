"""An outage is two lines in the log, however often it is met."""

import logging

import pytest

from messaging.outage import Outage

LOGGER = logging.getLogger("messaging.journal.receipts")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage().partition(":")[0].partition(" after")[0] for record in caplog.records
    ]


def test_an_outage_is_told_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage(LOGGER, "marks can't be stored")
    outage.over()
    for _ in range(2):
        for _ in range(100):
            outage.met(OSError("no route\nmore"))
        outage.over()
        outage.over()
    begins, over = "marks can't be stored, it is tried again until it works", "over"
    assert lines(caplog) == [begins, over] * 2
    assert "more" not in caplog.text
    assert " s: marks can't be stored" in caplog.records[1].getMessage()


def test_a_trouble_of_another_kind_is_told_with_its_trace_if_it_is_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage(LOGGER, "marks can't be stored")
    for _ in range(2):
        outage.met(OSError())
    for _ in range(2):
        outage.met(ZeroDivisionError("of ours"), ours=True)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert [record.exc_info is not None for record in caplog.records] == [False, True]
    assert "OSError" in caplog.records[0].getMessage()
