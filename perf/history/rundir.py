"""Where a run keeps everything: one directory, and the name of every file in it.

`<runs>/<scenario>/<YYYYmmddTHHMMSS>-<seed>/`, and `<runs>/latest` points to the newest. Nothing
else in perf builds these names. A report can be rebuilt from the directory alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "perf-runs"
LATEST = "latest"


class NoRun(Exception):
    """There is no such run; the text says where it was looked for."""


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """One run's directory."""

    path: Path

    @classmethod
    def make(cls, runs: Path, *, scenario: str, seed: int) -> Self:
        """Make a new one below `runs` and point `latest` to it. Raises OSError."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        path = _new(runs / scenario, f"{moment}-{seed}")
        directory = cls(path=path)
        for inner in (directory.history, directory.logs):
            inner.mkdir()
        _point(runs / LATEST, path)
        return directory

    @classmethod
    def find(cls, runs: Path, name: str | None) -> Self:
        """The run of this name: a path, or what follows `runs`; None is the latest. Raises NoRun."""
        wanted = [runs / LATEST] if name is None else [Path(name), runs / name]
        for path in wanted:
            if (path / "plan.json").is_file():
                return cls(path=path.resolve())
        raise NoRun(
            f"there is no run {name or LATEST} in {runs}: name a directory with a plan.json, or --runs"
        )

    def within(self, name: str) -> Self:
        """A directory for a smaller run within this one. Raises OSError."""
        inner = type(self)(path=self.path / name)
        for path in (inner.history, inner.logs):
            path.mkdir(parents=True)
        return inner

    @property
    def plan(self) -> Path:
        """What was going to be done: the scenario's plan, its seed and the command."""
        return self.path / "plan.json"

    @property
    def environment(self) -> Path:
        """What the figures depend on: machine, versions, server, processes."""
        return self.path / "environment.json"

    @property
    def history(self) -> Path:
        """The directory of the histories, one file per process of the generator."""
        return self.path / "history"

    def history_of(self, worker: int) -> Path:
        """The history of one process."""
        return self.history / f"{worker}.jsonl"

    @property
    def stored(self) -> Path:
        """What the database had when all was over."""
        return self.path / "stored.jsonl"

    def smallest_of(self, anomaly: str) -> RunDirectory:
        """A run of its own: the smallest history that was found to have this anomaly."""
        return RunDirectory(path=self.path / "smallest" / anomaly.replace(" ", "-"))

    @property
    def series(self) -> Path:
        """One line a second."""
        return self.path / "series.jsonl"

    @property
    def result(self) -> Path:
        """The result as JSON."""
        return self.path / "result.json"

    @property
    def report(self) -> Path:
        """The result as a page."""
        return self.path / "report.html"

    @property
    def junit(self) -> Path:
        """The result as JUnit XML."""
        return self.path / "junit.xml"

    @property
    def logs(self) -> Path:
        """The directory of the logs of everything that was started."""
        return self.path / "logs"


def _new(parent: Path, name: str) -> Path:
    """Make a directory that was not there; a second run within one second gets a number."""
    parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        path = parent / (name if number == 1 else f"{name}.{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise FileExistsError(f"{parent / name} and a thousand more are there already")


def _point(link: Path, target: Path) -> None:
    """Let `link` point to `target`, whatever it pointed to."""
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(target, link.parent))
    draft.replace(link)
