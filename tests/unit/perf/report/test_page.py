"""The page: the verdict first, everything in one file, and never more than the run's directory says."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from perf import report
from perf.history.rundir import RunDirectory
from perf.report import page
from perf.report.plots import canvas
from tests import sample_run

pytestmark = pytest.mark.slow  # every plot of a page, many times

MOST_BYTES = 5 * 2**20
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Checks that every element is closed, and collects text, headings and ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"h1", "h2", "h3"}:
            self.headings.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"h1", "h2", "h3"} & set(self.open):
            self.headings[-1] += data


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the sample run."""
    directory = sample_run.make(tmp_path_factory.mktemp("runs") / "message-flood" / "a-run")
    return page.write(directory).read_text()


def rendered(path: Path, **changes: Any) -> str:
    """The page of a run without plots, with this in its result: made at once."""
    return page.write(sample_run.make(path / "run", plots=False, **changes)).read_text()


def keep_only(kind: str, directory: RunDirectory) -> None:
    """Leave only figures of one kind in the series, so that only their plots are drawn."""
    *whole, torn = directory.series.read_bytes().split(b"\n")
    lines = map(msgspec.json.decode, whole)
    kept = [{k: v for k, v in line.items() if k == "t" or k.startswith(kind)} for line in lines]
    sample_run.write_lines(directory.series, kept)
    with directory.series.open("ab") as file:
        file.write(torn)


def test_the_verdict_is_the_first_heading(shown: str) -> None:
    assert Outline(shown).headings[0] == "Message flood: valid"


def test_every_plot_and_table_of_a_full_run_is_there(shown: str) -> None:
    headings = Outline(shown).headings
    for expected in (
        *("Targets", "Guarantees", "Latency", "Percentile spectrum", "Delivery: heat map"),
        *(
            "Load",
            "Messages",
            "Latency against load",
            "Steps",
            "Resources over time",
            "CPU",
            "Memory",
        ),
        *("PostgreSQL and Valkey", "Cost of a message", "Coverage", "Ledger and liveness"),
        *("All figures", "Environment and plan"),
    ):
        assert expected in headings, expected


def test_the_page_is_small_and_asks_nobody_for_anything(shown: str) -> None:
    assert len(shown.encode()) < MOST_BYTES
    for tag, attributes in Outline(shown).elements:
        assert tag not in {"link", "img", "iframe", "object"}
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:", "#"))
    assert "@import" not in shown
    assert not re.findall(r"url\((?!#)", shown)


def test_no_id_is_used_twice_so_that_plots_do_not_borrow_from_each_other(shown: str) -> None:
    ids = Outline(shown).ids
    assert len(ids) == len(set(ids))


def test_every_plot_is_well_formed_and_has_no_placeholder_of_a_colour_left(shown: str) -> None:
    plots = re.findall(r"<svg role.*?</svg>", shown, flags=re.S)
    assert len(plots) > 12
    for plot in plots:
        ElementTree.fromstring(plot)
    assert "#0b0c" not in shown


def test_faults_are_shaded_and_named_with_what_was_felt_of_them(shown: str) -> None:
    assert "kill (server-1) 38.0 s to 44.0 s: connections cut 250" in shown
    rate = re.search(r'<svg role="img" data-plot="rate".*?</svg>', shown, flags=re.S)
    assert rate is not None
    assert "#d1495b" in rate.group()
    assert "#00798c" in rate.group()


def test_steps_are_marked_on_the_plots_of_time(shown: str) -> None:
    assert "8,000/s" in shown


def test_names_of_steps_that_follow_closely_do_not_overlap() -> None:
    names = [(float(at), f"step {at}: 1,000 a second") for at in range(12)]
    with canvas.axes("rate", height=2.0) as (on, finished):
        canvas.mark(on, [*names, (50.0, "the last")], length=100.0, named=True)
    assert re.findall(r"step \d+", finished[0]) == ["step 11"]
    assert "the last" in finished[0]


def test_the_limiting_resource_the_command_and_the_commit_are_named(shown: str) -> None:
    assert "Limited by the CPUs of the machine" in shown
    assert "<pre>manage.py perf stress message-flood --seed 7</pre>" in shown
    assert "commit 76a965d" in shown


def test_a_sentence_from_the_run_is_text_and_never_markup(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> was lost\n12.3  device 7"
    shown = rendered(
        tmp_path, anomalies={"lost": 1}, witnesses={"lost": [hostile]}, problems=["<b>bold</b>"]
    )
    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert "&lt;b&gt;bold" in shown
    assert "<pre>12.3  device 7</pre>" in shown


@pytest.mark.parametrize("verdict", ["valid", "invalid", "unknown"])
def test_each_verdict_has_its_word_and_its_mark(tmp_path: Path, verdict: str) -> None:
    shown = rendered(tmp_path, verdict=verdict)
    assert Outline(shown).headings[0] == f"Message flood: {verdict}"
    assert f'<div class="verdict {verdict}">' in shown


def test_a_target_without_a_sample_is_neither_held_nor_missed(tmp_path: Path) -> None:
    targets = sample_run.result()["targets"]
    targets[0] |= {"measured": None, "passed": None, "reached": None}
    shown = rendered(tmp_path, targets=targets, verdict="unknown")
    assert "no sample" in shown
    assert f"{len(targets) - 1} of {len(targets)} targets held" in shown


def test_an_aborted_run_is_shown_with_what_there_is(tmp_path: Path) -> None:
    directory = sample_run.make(tmp_path / "message-flood" / "run", aborted=True)
    keep_only("load.", directory)
    shown = page.write(directory).read_text()
    headings = Outline(shown).headings
    assert headings[0] == "Message flood: aborted"
    assert "Load" in headings
    assert "Targets" not in headings
    assert "60 seconds of figures" in shown
    assert report.rebuild(directory) is None
    assert not directory.junit.exists()


def test_an_empty_directory_still_gives_a_page(tmp_path: Path) -> None:
    directory = RunDirectory(path=tmp_path / "messages" / "run")
    directory.history.mkdir(parents=True)
    shown = page.write(directory).read_text()
    assert Outline(shown).headings[0] == "Messages: aborted"
    assert "the run's plan is missing" in shown.replace("&#39;", "'")


def test_a_generator_at_its_limit_is_said_on_the_first_screen(tmp_path: Path) -> None:
    directory = sample_run.make(tmp_path / "run", spectra={}, steps=[])
    keep_only("generator.", directory)
    lines = directory.series.read_text().replace(
        '"generator.busiest_percent":', '"generator.busiest_percent":1'
    )
    directory.series.write_text(lines)
    assert "The generator was the bottleneck:" in page.write(directory).read_text()


@pytest.mark.slow
def test_the_page_is_the_same_when_it_is_made_again(tmp_path: Path) -> None:
    directory = sample_run.make(tmp_path / "run")
    first = page.write(directory).read_bytes()
    assert page.write(directory).read_bytes() == first


def test_a_guarantee_that_was_never_tested_is_not_shown_as_held(tmp_path: Path) -> None:
    covered = {"name": "lost", "kind": "always", "checked": 9710, "held": 9710, "witness": ""}
    shown = rendered(tmp_path, anomalies={"lost": 0, "gap": 0}, coverage=[covered])
    chips = re.findall(r'<li class="chip (\w*)"><span>(.*?)</span>(.*?)</li>', shown)
    assert [(name, kind) for kind, name, _ in chips] == [("lost", ""), ("gap", "untested")]
    assert "of 9,710" in chips[0][2]
    assert "not tested" in chips[1][2]
