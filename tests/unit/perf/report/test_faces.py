"""JUnit and the terminal: the same verdict as the JSON, for those who read only part of it."""

from pathlib import Path

import msgspec
import pytest
from junitparser import Error, Failure, JUnitXml

from perf import report
from perf.results import merged
from perf.scenario import Result
from tests import sample_run

pytestmark = pytest.mark.slow  # whole reports


def result(**changes: object) -> Result:
    return msgspec.convert({**sample_run.result(), **changes}, Result)


def missed() -> Result:
    """One target missed, one without a sample, one anomaly, one property never tested."""
    made = sample_run.result()
    made["targets"][0] |= {"measured": 71.0, "passed": False, "reached": False}
    made["targets"][1] |= {"measured": None, "passed": None, "reached": None}
    made["coverage"][0] |= {"checked": 0, "held": 0}
    made["anomalies"]["lost"] = 1
    made |= {
        "verdict": "invalid",
        "passed": False,
        "witnesses": {"lost": ["one is gone\n1.0  stored"]},
    }
    return msgspec.convert(made, Result)


def cases(made: Result, path: Path) -> dict[str, list[type]]:
    report.write_junit(made, path)
    (suite,) = JUnitXml.fromfile(str(path))
    return {case.name: [type(one) for one in case.result] for case in suite}


def test_junit_has_a_case_for_the_scenario_each_target_guarantee_and_property(
    tmp_path: Path,
) -> None:
    found = cases(result(), tmp_path / "junit.xml")
    assert "message-flood" in found
    assert "T2 delivery latency, send to the other device (p99)" in found
    assert "no lost" in found
    assert "resume after a drop" in found
    assert not any(found.values())


def test_junit_shows_what_no_xml_may_have(tmp_path: Path) -> None:
    """A stack trace of a server may quote anything; the run that has found it must not end with one of its own."""
    path = tmp_path / "junit.xml"
    problem = "the first: ValueError: no \x1b[31m\x00 here"
    report.write_junit(result(verdict="invalid", problems=[problem], command="perf \ud800"), path)
    (suite,) = JUnitXml.fromfile(str(path))
    (case,) = [one for one in suite if one.name == "message-flood"]
    assert case.result[0].message.endswith(r"ValueError: no \x1b[31m\x00 here")
    assert r"perf \ud800" in {one.value for one in suite.properties()}


def test_junit_fails_what_is_wrong_and_errs_on_what_is_unknown(tmp_path: Path) -> None:
    found = cases(missed(), tmp_path / "junit.xml")
    assert found["message-flood"] == [Failure]
    assert found["T2 delivery latency, send to the other device (p99)"] == [Failure]
    assert found["T4 database response time under load (p99)"] == [Error]
    assert found["no lost"] == [Failure]
    assert found["no duplicated"] == []
    assert found["resume after a drop"] == [Error]


def test_junit_of_several_runs_has_a_suite_for_each(tmp_path: Path) -> None:
    both = msgspec.structs.replace(
        result(), runs=[result(), msgspec.structs.replace(missed(), scenario="messages")]
    )
    report.write_junit(both, tmp_path / "junit.xml")
    assert len(list(JUnitXml.fromfile(str(tmp_path / "junit.xml")))) == 2


def test_the_terminal_says_verdict_targets_guarantees_totals_report_and_command_in_this_order() -> (
    None
):
    made = msgspec.structs.replace(result(), directory="perf-runs/message-flood/a-run")
    lines = report.text(made, colour=False).splitlines()
    places = [lines.index(title) for title in ("TARGETS", "TOTALS")]
    (guarantees,) = [place for place, line in enumerate(lines) if line.startswith("GUARANTEES")]
    assert lines[0].startswith("message-flood: VALID")
    assert places[0] < guarantees < places[1]
    assert lines[-2] == "report: perf-runs/message-flood/a-run/report.html"
    assert lines[-1].endswith("manage.py perf stress message-flood --seed 7")


def test_the_terminal_shows_what_was_found_with_its_excerpt() -> None:
    lines = report.text(missed(), colour=False).splitlines()
    assert "  ✗  lost: 1" in lines
    assert "       one is gone" in lines
    assert "       1.0  stored" in lines
    assert any(line.startswith("  ✗  T2") for line in lines)
    assert any(line.startswith("  ?  T4") and "no sample" in line for line in lines)
    assert any(line.startswith("  ?  resume after a drop: 0 of 0") for line in lines)


def test_the_terminal_is_plain_where_nobody_looks_and_coloured_where_someone_does() -> None:
    assert "\x1b" not in report.text(result())
    assert "\x1b[32mVALID" in report.text(result(), colour=True)
    assert "\x1b[31mINVALID" in report.text(missed(), colour=True)


def test_a_report_is_rebuilt_from_the_directory_alone(tmp_path: Path) -> None:
    directory = sample_run.make(tmp_path / "run", plots=False)
    found = report.rebuild(directory)
    assert found is not None
    assert found.verdict == "valid"
    assert directory.report.exists()
    assert directory.junit.exists()


def test_all_files_of_a_report_are_written_together(tmp_path: Path) -> None:
    directory = sample_run.make(tmp_path / "run", aborted=True, plots=False)
    report.write(result(), directory)
    assert msgspec.json.decode(directory.result.read_bytes())["verdict"] == "valid"
    assert "Message flood: " in directory.report.read_text()
    assert directory.junit.exists()


def test_several_runs_are_a_table_with_a_line_for_each(tmp_path: Path) -> None:
    both = merged("stress all", [result(), missed()], command="manage.py perf stress all")
    shown = report.text(both, colour=False)
    assert "message-flood  valid    7 of 7" in shown
    assert "message-flood  invalid  5 of 7" in shown
    directory = sample_run.make(tmp_path / "run", **msgspec.to_builtins(both))
    directory.series.unlink()
    report.write(both, directory)
    assert "<td>5 of 7</td>" in directory.report.read_text()
