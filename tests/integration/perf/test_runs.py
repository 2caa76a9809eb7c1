"""Runs in the database and in the admin: kept as they were, shown to staff, changed by nobody."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from perf.history.rundir import RunDirectory
from perf.management import keeping
from perf.models import Run
from perf.rig.children import manage
from tests import sample_run
from tests.plugin import remove

pytestmark = pytest.mark.django_db
LIST = "admin:perf_run_changelist"


def quick(path: Path, **changes: object) -> RunDirectory:
    """A run without plots: its page is made at once."""
    return sample_run.make(path, plots=False, **changes)  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.objects.keep(quick(tmp_path / "message-flood" / "20260102T101112-7"))


@pytest.fixture
def browser() -> Client:
    get_user_model().objects.create_superuser(username="root", password="secret")
    client = Client()
    assert client.login(username="root", password="secret")
    return client


def shown(browser: Client, url: str) -> str:
    answer = browser.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_run_is_kept_with_everything_that_it_said(run: Run) -> None:
    kept = Run.objects.get()
    assert (kept.name, kept.verdict, kept.seed) == ("message-flood/20260102T101112-7", "valid", 7)
    assert kept.started.isoformat() == "2026-01-02T10:11:12+00:00"
    assert (kept.commit, kept.held, len(kept.targets)) == ("76a965d", 7, 7)
    assert kept.result["figures"]["devices"] == 1000
    assert "<h1>Message flood: <em>valid</em></h1>" in kept.page.decode()


def test_keeping_a_run_again_replaces_it(tmp_path: Path) -> None:
    directory = quick(tmp_path / "message-flood" / "run")
    Run.objects.keep(directory)
    directory.result.unlink()
    Run.objects.keep(directory)
    assert [run.verdict for run in Run.objects.all()] == ["aborted"]


def test_an_aborted_run_is_kept_as_such(tmp_path: Path) -> None:
    run = Run.objects.keep(quick(tmp_path / "message-flood" / "20260304T050607-9", aborted=True))
    assert run.verdict == "aborted"
    assert run.started.isoformat() == "2026-03-04T05:06:07+00:00"
    assert run.targets == []


def test_the_list_shows_verdict_targets_and_the_most_telling_figure(
    run: Run, browser: Client
) -> None:
    page = shown(browser, reverse(LIST))
    assert ">valid</b>" in page
    assert "7 of 7" in page
    assert "6,400 messages/s" in page


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        ({"verdict__exact": "valid"}, 1),
        ({"verdict__exact": "invalid"}, 0),
        ({"scenario": "message-flood"}, 1),
        ({"commit": "another"}, 0),
        ({"q": "flood"}, 1),
        ({"q": "nothing like it"}, 0),
    ],
)
def test_the_list_can_be_filtered_and_searched(
    run: Run, browser: Client, choice: dict[str, str], count: int
) -> None:
    answer = browser.get(reverse(LIST), choice)
    assert answer.status_code == 200
    assert answer.context["cl"].result_count == count


def test_the_list_does_not_read_the_pages(run: Run, browser: Client) -> None:
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        shown(browser, reverse(LIST))
    assert not any("page_gzip" in query["sql"] for query in queries)


def test_a_run_has_its_targets_its_command_and_its_report(run: Run, browser: Client) -> None:
    page = shown(browser, reverse("admin:perf_run_change", args=[run.pk]))
    report = reverse("admin:perf_run_report", args=[run.pk])
    assert "T2 delivery latency, send to the other device (p99)" in page
    assert "manage.py perf stress message-flood --seed 7" in page
    assert f'<iframe src="{report}" sandbox ' in page


def test_the_report_is_served_in_a_sandbox_and_only_within_the_admin(
    run: Run, browser: Client
) -> None:
    answer = browser.get(reverse("admin:perf_run_report", args=[run.pk]))
    assert answer.content == run.page
    assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer["X-Frame-Options"] == "SAMEORIGIN"


def test_a_stranger_sees_nothing(run: Run) -> None:
    staff = get_user_model().objects.create_user(username="ann", password="secret", is_staff=True)
    stranger, clerk = Client(), Client()
    clerk.force_login(staff)
    for name in ("change", "report"):
        url = reverse(f"admin:perf_run_{name}", args=[run.pk])
        assert stranger.get(url).status_code == 302
        assert clerk.get(url).status_code == 403


def test_nobody_adds_changes_or_deletes_a_run(run: Run, browser: Client) -> None:
    assert browser.get(reverse("admin:perf_run_add")).status_code == 403
    assert browser.post(reverse("admin:perf_run_delete", args=[run.pk])).status_code == 403
    browser.post(reverse("admin:perf_run_change", args=[run.pk]), {"verdict": "invalid"})
    assert Run.objects.get().verdict == "valid"


def test_a_run_that_is_not_there_is_an_answer_and_no_crash(browser: Client) -> None:
    assert browser.get(reverse("admin:perf_run_report", args=[4711])).status_code == 404


def test_a_sentence_of_a_run_is_text_in_the_admin(tmp_path: Path, browser: Client) -> None:
    run = Run.objects.keep(quick(tmp_path / "a" / "b", problems=["<script>alert(1)</script>"]))
    assert "<script>alert(1)" not in shown(browser, reverse("admin:perf_run_change", args=[run.pk]))


def test_the_command_keeps_runs_and_names_a_missing_one(tmp_path: Path) -> None:
    directory = quick(tmp_path / "message-flood" / "run")
    said = StringIO()
    call_command("perf_keep", str(directory.path), stdout=said)
    assert said.getvalue() == "message-flood/run is kept: valid\n"
    with pytest.raises(CommandError, match="there is no run nowhere"):
        call_command("perf_keep", "nowhere", runs=tmp_path)


def test_after_a_run_it_is_kept_where_this_process_has_a_database(tmp_path: Path) -> None:
    assert keeping.keep(quick(tmp_path / "a" / "b")) is None
    assert Run.objects.count() == 1


def test_a_run_that_cannot_be_kept_is_no_failure(tmp_path: Path) -> None:
    directory = quick(tmp_path / "a" / "b")
    directory.report.parent.joinpath("result.json").write_bytes(
        b'{"scenario":"' + b"x" * 200 + b'"}'
    )
    assert "too long" in (keeping.keep(directory) or "")


@pytest.mark.slow
def test_without_a_database_nothing_is_started_and_nothing_is_said(tmp_path: Path) -> None:
    program = (
        "import django, pathlib; django.setup()\n"
        "from perf.management.keeping import keep; from perf.history.rundir import RunDirectory\n"
        f"print(keep(RunDirectory(path=pathlib.Path({str(tmp_path)!r}))))"
    )
    env = {
        **{name: value for name, value in os.environ.items() if not name.endswith("_URL")},
        "LOCKSTEP_DATA": str(tmp_path / "data"),
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "PYTHONPATH": str(Path(manage()[1]).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "None", done.stderr
    assert not list((tmp_path / "data").glob("postgres*"))
    remove(tmp_path / "data")  # as root its home is elsewhere
