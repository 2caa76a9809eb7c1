"""A sabotaged server starts only for the rig, on a database of the rig's own, for this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perf.rig import cleanup
from perf.rig.children import MARK, ROOT
from perf.sabotage import ALL, BY_NAME, LEAK, OWN, SETTINGS, VARIABLE
from perf.sabotage.guard import refusal

ADDRESSES = {"DATABASE_URL": "postgres://lockstep@/lockstep?host=/x", "REDIS_URL": "unix:///x"}
SERVE = ["manage.py", "serve", "--port", "1"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What the rig starts a sabotaged server with."""
    cleanup.claim(tmp_path)
    written = b'{"DATABASE_URL":"%b","REDIS_URL":"%b"}'
    cleanup.note_addresses(tmp_path, written % tuple(v.encode() for v in ADDRESSES.values()))
    return {**ADDRESSES, MARK: str(tmp_path), VARIABLE: "drop"}


def test_the_rig_may_break_a_server_on_its_own_database(environ: dict[str, str]) -> None:
    assert refusal(environ, SERVE) is None
    assert refusal(environ, [*SERVE, "--host", "127.0.0.1"]) is None


def test_nobody_else_may_break_a_server(environ: dict[str, str]) -> None:
    del environ[MARK]
    assert "only `perf e2e` may start it" in (refusal(environ, SERVE) or "")


@pytest.mark.parametrize("name", ADDRESSES)
def test_no_other_database_or_bus_is_ever_touched(environ: dict[str, str], name: str) -> None:
    environ[name] = "postgres://production/"
    assert "made for the moment" in (refusal(environ, SERVE) or "")


def test_a_rig_that_has_made_no_database_breaks_nothing(environ: dict[str, str]) -> None:
    (Path(environ[MARK]) / cleanup.ADDRESSES).unlink()
    assert "made for the moment" in (refusal(environ, SERVE) or "")


@pytest.mark.parametrize("host", [["--host", "0.0.0.0"], ["--host=10.0.0.7"]])
def test_a_broken_server_is_for_this_machine_only(environ: dict[str, str], host: list[str]) -> None:
    assert "leave out --host" in (refusal(environ, [*SERVE, *host]) or "")


def test_an_unknown_sabotage_is_refused_with_the_known_ones(environ: dict[str, str]) -> None:
    environ[VARIABLE] = "everything"
    assert "drop, ack, swap" in (refusal(environ, SERVE) or "")


@pytest.mark.slow
def test_the_settings_refuse_in_one_line() -> None:
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS, VARIABLE: "drop"}
    environ.pop(MARK, None)
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: perf.sabotage breaks the server on purpose")


def test_every_sabotage_names_an_anomaly_that_the_judge_knows() -> None:
    from perf.checkers import NAMES

    assert len(BY_NAME) == len(ALL) + len(OWN)
    assert {one.anomaly for one in ALL} <= {*NAMES, LEAK}
