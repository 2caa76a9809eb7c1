"""A rig in a process of its own, for tests that kill it, and what is left of it afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from perf.rig.children import MARK, ROOT
from tests.commands import ENVIRONMENT

PATIENCE_S = 30.0

PROGRAM = """
import asyncio, sys
from pathlib import Path
from perf import runner
from perf.rig.children import MARK
from perf.rig.environment import Crowd, private

async def hold():
    async with private(crowd=Crowd(conversations=1, members=2), logs=Path(sys.argv[1])) as place:
        print(place.env[MARK], flush=True)
        await asyncio.sleep(600)

runner.execute(hold())
"""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A rig that holds a private environment in `directory`, with its services in `home`."""

    process: subprocess.Popen[str]
    directory: Path
    home: Path

    def children(self) -> list[psutil.Process]:
        """Its keeper, its server and whatever else carries its mark."""
        return marked(self.directory)

    def services(self) -> list[psutil.Process]:
        """PostgreSQL and Valkey."""
        return [one for one in psutil.process_iter() if str(self.home) in _place(one)]

    def keeper(self) -> psutil.Process:
        """The process that clears up."""
        return keeper_of(self.directory)

    def gone(self) -> bool:
        """Whether nothing is left."""
        places = self.directory.exists() or self.home.exists()
        return not (places or self.children() or self.services())


def start(logs: Path) -> Rig:
    """Start one and wait for its environment."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(logs)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    directory = Path(process.stdout.readline().strip())
    return Rig(process=process, directory=directory, home=home_of(directory))


def home_of(directory: Path) -> Path:
    """Where the services of a run's directory live."""
    pointer = directory / "home"
    return Path(pointer.read_text().strip()) if pointer.exists() else directory


def keeper_of(directory: Path) -> psutil.Process:
    """The process that clears up after a run."""
    return next(one for one in marked(directory) if "perf.rig.keep" in one.cmdline())


def marked(directory: Path) -> list[psutil.Process]:
    """Every process that is of this run."""
    return [one for one in psutil.process_iter() if _mark(one) == str(directory)]


def eventually(true: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):
        return ""


def _place(process: psutil.Process) -> str:
    try:
        named = process.name() in {"postgres", "valkey-server"}
        return " ".join([process.cwd(), *process.cmdline()]) if named else ""
    except (psutil.Error, OSError):
        return ""
