"""The end-to-end scenarios in their quick form, each with a whole environment of its own."""

from pathlib import Path

import pytest

from tests.commands import quick


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", ["presence", "multi-device"])
def test_what_users_do_across_devices_is_done_and_nothing_else(
    scenario: str, tmp_path: Path
) -> None:
    result = quick("e2e", scenario, tmp_path)
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    unmet = [one for one in result["coverage"] if one["held"] < one["checked"]]
    assert unmet == []
    # A busy machine may miss limits of time; that something did not come at all is a fault.
    assert [one for one in result["problems"] if not one.startswith("the generator was")] == []
