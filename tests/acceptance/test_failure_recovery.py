"""`manage.py perf e2e failure-recovery`: one fault in its quick form each, in an environment of its own."""

import json
from pathlib import Path

import pytest

from perf import faults
from perf.faults.fault import Fault, Known
from perf.faults.servers import ServerKill
from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.measure.series import Series
from perf.progress import Progress
from perf.rig.environment import Crowd, private
from perf.scenario import Options, Stage
from perf.scenarios.failure_recovery import findings
from perf.scenarios.parts.dose import QUICK_MEMBERS
from perf.scenarios.parts.endured import Endured
from perf.scenarios.parts.ordeal import suffer
from tests.commands import perf

FIRST = "server-kill"


def endure(fault: str, tmp_path: Path) -> None:
    if reason := faults.ALL[fault].why_not():
        pytest.skip(reason)
    file = tmp_path / "result.json"
    done = perf(
        *("e2e", "failure-recovery", "--fault", fault, "--quick", "--quiet", "--seed", "1"),
        *("--runs", str(tmp_path / "runs"), "--json", str(file)),
    )
    assert file.exists(), done.stdout + done.stderr
    result = json.loads(file.read_text())
    assert set(result["anomalies"].values()) == {0}, result["witnesses"]
    # A busy machine may be slow to recover; that something was lost, or a fault not felt, is a fault.
    assert result["problems"] == [], done.stdout
    (row,) = result["steps"]
    assert row["fault"] == fault
    assert row["felt"] != "nothing"
    assert row["deliveries"] >= 2_000
    assert row["recovery_s"] is not None


@pytest.mark.long
@pytest.mark.timeout(300)
def test_nothing_is_lost_when_a_server_is_killed_under_load(tmp_path: Path) -> None:
    endure(FIRST, tmp_path)


# One of each kind: all of them, `perf e2e failure-recovery`, take longer than everything else together.
KINDS = (
    "server-pause",
    "valkey-gone",
    "postgres-kill",
    "postgres-half-open",
    "lock",
    "stalled-reader",
    "replay",
    "clients-reset",
    "everything-kill",
    "disk-full-table",
)


def test_the_kinds_are_faults_that_there_are() -> None:
    assert {FIRST, *KINDS} <= set(faults.ALL)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", KINDS)
def test_nothing_is_lost_whatever_breaks(fault: str, tmp_path: Path) -> None:
    endure(fault, tmp_path)


class Sham(ServerKill):
    """Says that it kills and does not."""

    async def begin(self) -> None:
        """Nothing at all."""


async def suffered(fault: type[Fault], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Endured:
    """What becomes of a fault that only a test knows, in its quick form."""
    for name in ("DATABASE_URL", "REDIS_URL", "LOCKSTEP_DATA"):
        monkeypatch.delenv(name, raising=False)
    directory = RunDirectory.make(tmp_path, scenario="trial", seed=1)
    crowd = Crowd(conversations=2, members=QUICK_MEMBERS)
    async with private(crowd=crowd, spare=True, logs=directory.logs) as place:
        with Recorder(directory.history_of(0), run="1-trial", scenario="trial", seed=1) as recorder:
            stage = Stage(
                options=Options(seed=1, quick=True),
                environment=place,
                directory=directory,
                recorder=recorder,
                series=Series(directory.series),
                progress=Progress(quiet=True),
            )
            known = Known(fault.what, fault.hold_s, fault)
            endured = Endured(name="trial", what=known.what)
            return await suffer(stage, known, endured, place.accounts)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_fault_that_does_nothing_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endured = await suffered(Sham, tmp_path, monkeypatch)
    assert endured.judgement.anomalies == 0
    assert endured.judgement.deliveries > 1_000
    assert endured.verdict == "unknown"
    assert findings([endured]).verdict == "unknown"


class Accident(ServerKill):
    """Is to end no server process, and one ends all the same, as of an error of its own."""

    ends_servers = False


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_server_that_a_fault_was_not_to_end_must_not_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endured = await suffered(Accident, tmp_path, monkeypatch)
    assert endured.judgement.anomalies == 0
    assert endured.recovery_s is not None
    assert endured.broken == ["1 server processes ended, which was no part of the fault"]
    assert endured.verdict == "invalid"
