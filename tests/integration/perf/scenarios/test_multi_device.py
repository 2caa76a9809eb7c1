"""A connection that is lost in the middle of the suite is told, though others end because they are revoked."""

from pathlib import Path

import pytest

from perf import runner
from perf.load.device import Device
from perf.progress import Progress
from perf.scenario import Options
from perf.scenarios import multi_device
from perf.scenarios.multi_device import SCENARIO, Household


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_connection_that_nobody_ended_is_told_though_others_are_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"):
        monkeypatch.delenv(name, raising=False)
    share, cut = multi_device._share, []

    async def lose(it: Household, linked: Device) -> None:
        await share(it, linked)
        if not cut:
            cut.append(it.first)
            line = it.first._line
            assert line is not None
            assert line._transport is not None
            line._transport.underlying_transport.abort()

    monkeypatch.setattr(multi_device, "_share", lose)
    options = Options(seed=1, quick=True, runs=tmp_path)
    result = await runner.measure(SCENARIO, options, progress=Progress(quiet=True), command="")
    assert cut
    assert sum(result.anomalies.values()) == 0
    assert [one for one in result.problems if "lost" in one] == [
        "1 connections were lost, codes [1006]"
    ]
