"""What a run left is read back, however little or broken it is."""

from pathlib import Path

from perf.history.events import Fault
from perf.history.rundir import RunDirectory
from perf.report import material
from perf.report.plots import heat
from perf.report.plots.timeline import Curve, points
from tests import sample_run


def write(path: Path, *events: Fault) -> RunDirectory:
    directory = RunDirectory(path=path)
    directory.history.mkdir(parents=True)
    sample_run.write_lines(directory.history_of(0), list(events))
    return directory


def test_faults_have_a_beginning_an_end_and_an_effect(tmp_path: Path) -> None:
    found = material.load(sample_run.make(tmp_path / "run")).faults
    assert [(one.name, one.begin, one.end) for one in found] == [
        ("kill", 38, 44),
        ("partition", 75, 82),
    ]
    assert found[0].effect == {"connections_cut": 250}


def test_a_fault_that_was_never_healed_has_no_end(tmp_path: Path) -> None:
    directory = write(tmp_path / "run", Fault(t=5_000_000_000, name="kill", phase="begin"))
    (found,) = material.load(directory).faults
    assert (found.begin, found.end) == (0, None)


def test_the_same_fault_twice_is_two_windows(tmp_path: Path) -> None:
    directory = write(
        tmp_path / "run",
        Fault(t=0, name="kill", phase="begin"),
        Fault(t=2_000_000_000, name="kill", phase="end"),
        Fault(t=5_000_000_000, name="kill", phase="begin"),
        Fault(t=6_000_000_000, name="kill", phase="end"),
    )
    assert [(one.begin, one.end) for one in material.load(directory).faults] == [(0, 2), (5, 6)]


def test_lines_that_were_cut_off_are_passed_over(tmp_path: Path) -> None:
    directory = sample_run.make(tmp_path / "run", aborted=True)
    with directory.history_of(0).open("ab") as file:
        file.write(b'["fault",1,"ki')
    found = material.load(directory)
    assert found.aborted
    assert len(found.lines) == 60
    assert len(found.faults) == 2


def test_a_count_is_shown_per_second_however_late_the_line_was(tmp_path: Path) -> None:
    directory = RunDirectory(path=tmp_path)
    sample_run.write_lines(
        directory.series,
        [
            {"t": int(at * 1e9), "load.acked": n}
            for at, n in ((1, 100), (2, 100), (4, 400), (4.5, 50))
        ],
    )
    curve = Curve(name="load.acked", label="", colour="first", rate=True)
    assert [value for _, value in points(curve, material.load(directory))] == [100, 100, 200, 100]


def test_a_day_is_drawn_with_few_points_and_its_mean(tmp_path: Path) -> None:
    directory = RunDirectory(path=tmp_path)
    lines = [{"t": n * 12 * 10**9, "server.rss_mb": 100 + n % 2} for n in range(7_200)]
    sample_run.write_lines(directory.series, lines)
    curve = Curve(name="server.rss_mb", label="", colour="first")
    found = points(curve, material.load(directory))
    assert len(found) <= 600
    assert all(abs(value - 100.5) < 0.01 for _, value in found)


def test_the_heat_map_has_no_holes_where_lines_came_late(tmp_path: Path) -> None:
    directory = RunDirectory(path=tmp_path)
    lines = [
        {"t": int(at * 1e9), "latency.x.count": 10, "latency.x.buckets": {"1024": 10}}
        for at in (0.0, 1.3, 2.2, 3.9, 4.0)
    ]
    sample_run.write_lines(directory.series, lines)
    counts = heat._counts("x", material.load(directory))
    assert counts.shape[1] == 16
    assert (counts.sum(axis=0) > 0).all()
