"""`bin/setup` on a bare machine: which Python it takes, where it may be, and who else does it at the same time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One whose path has a space, and which needs nothing."""
    place = tmp_path / "my sites"
    (place / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "bin" / "setup", place / "bin")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (place / name).touch()
    return place


@pytest.fixture
def old(tmp_path: Path) -> str:
    """A PATH on which every Python is too old, or a version manager's stub."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in NAMES:
        (stubs / name).write_text("#!/bin/sh\nexit 1\n")
        (stubs / name).chmod(0o755)
    return f"{stubs}:/usr/bin:/bin"


def setup(checkout: Path, path: str, python: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["/bin/sh", str(checkout / "bin" / "setup"), "dev"],
        env={"PATH": path, "PYTHON": python},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_without_a_python_that_will_do_it_says_in_a_line_how_to_name_one(
    checkout: Path, old: str
) -> None:
    said, wrong = setup(checkout, old).communicate()
    assert said == ""
    assert wrong.splitlines() == [
        "error: no Python 3.11 or newer found: install one, or name it with PYTHON=/path/to/python3."
    ]


def test_the_python_that_is_named_may_have_a_space_and_a_checkout_that_can_not_be_written_is_a_line(
    checkout: Path, old: str
) -> None:
    python = checkout / "a python"
    python.symlink_to(sys.executable)
    (checkout / ".venv.lock").mkdir()
    _, wrong = setup(checkout, old, str(python)).communicate()
    assert wrong.splitlines() == [
        f"error: {checkout} can't be written: run as its owner, or check out elsewhere."
    ]


def test_make_alone_lists_the_commands_with_what_every_machine_has(tmp_path: Path) -> None:
    """`column` comes with man pages, which a bare machine has not."""
    for name in ("make", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    said = subprocess.check_output(
        [tmp_path / "make"], cwd=ROOT, env={"PATH": str(tmp_path)}, text=True
    )
    lines = said.splitlines()
    assert "  make run\tset up everything on a fresh machine, then serve" in lines
    assert len({len(line.partition("\t")[0]) // 8 for line in lines}) == 1  # they stand in a column


@pytest.mark.long
def test_two_at_once_make_one_environment_and_a_repeat_makes_none(checkout: Path, old: str) -> None:
    """With a Python on PATH that is too old, in a path with a space."""
    stub = Path(old.partition(":")[0], "python3.11")
    stub.unlink()
    stub.symlink_to(Path(sys.executable).resolve())
    both = [setup(checkout, old) for _ in range(2)]
    said = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sorted(text.count("Installing") for text, _ in said) == [0, 2]
    subprocess.run([checkout / ".venv" / "bin" / "python", "-c", ""], check=True)
    again = setup(checkout, old)
    assert (again.communicate(), again.returncode) == (("", ""), 0)
    assert os.listdir(checkout / ".venv").count("stamp-dev") == 1
