"""When a fleet is level: with its furthest device, and with what it was promised."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from perf.history.recorder import Recorder
from perf.load.device import Device
from perf.load.fleet import Fleet, FleetError, workers_for
from perf.load.observer import Troubles


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "0.jsonl", run="run", scenario="test", seed=1)


def fleet(recorder: Recorder, *cursors: int, promised: int = 0) -> Fleet:
    made = Fleet(url="http://127.0.0.1:1", recorder=recorder, observer=Troubles())
    for cursor in cursors:
        device = SimpleNamespace(
            account=SimpleNamespace(conversations=("c",)),
            client=SimpleNamespace(cursors={"c": cursor}),
            promised={},
        )
        made.devices.append(cast("Device", device))
    made.devices[0].promised["c"] = promised
    return made


def test_whoever_lacks_what_another_device_has_is_behind(recorder: Recorder) -> None:
    assert fleet(recorder, 3, 3, 2).behind() == 1
    assert fleet(recorder, 3, 3, 3).behind() == 0


def test_all_are_behind_a_server_that_answers_and_tells_of_nothing(recorder: Recorder) -> None:
    assert fleet(recorder, 3, 3, 3, promised=4).behind() == 3
    assert fleet(recorder, 4, 4, 3, promised=4).behind() == 1


def test_a_process_that_may_open_few_files_is_told_so_and_not_multiplied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perf.load.fleet.file_limit", lambda: 300)
    with pytest.raises(FleetError, match="may open 300 files"):
        workers_for(1_000)
    assert workers_for(0) == 0
