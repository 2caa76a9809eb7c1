"""The stress scenarios in their quick form, each with a whole environment of its own."""

from pathlib import Path

import pytest

from tests.commands import quick

TOO_BUSY = ("the generator was", "no rate was held")  # how a result says that time was short


@pytest.mark.long
@pytest.mark.timeout(300)  # a quarter of a minute each, but password hashes wait for a busy machine
@pytest.mark.parametrize("scenario", ["connections", "queues", "database", "api"])
def test_a_quick_form_finds_no_anomaly_and_tests_what_it_has_to(
    scenario: str, tmp_path: Path
) -> None:
    result = quick("stress", scenario, tmp_path)
    # A busy machine may miss limits of time; what is wrong or was not tested at all is a fault.
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    unmet = [
        one
        for one in result["coverage"]
        if not one["held"] or (one["kind"] == "always" and one["held"] < one["checked"])
    ]
    assert unmet == []
    faults = [one for one in result["problems"] if not one.startswith(TOO_BUSY)]
    assert faults == []
    assert result["limiting"]
