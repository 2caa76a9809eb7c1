"""What a run says while it runs: a bar that moves on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN = {"✓": "+", "✗": "x", "–": "-", "…": "...", "≤": "<=", "≥": ">=", "µ": "u", "²": "2"}
"""What stands for a character on a terminal that has it not: a verdict must not look like another."""

STEPS = 4  # plain lines per bar, beside its first: at every quarter


def take_all(*streams: object) -> None:
    """Have these streams take any text, also where the locale's encoding lacks its characters."""
    codecs.register_error("lockstep", _plain)
    for stream in streams:
        with suppress(AttributeError):  # of a test, or of another program
            stream.reconfigure(errors="lockstep")  # type: ignore[attr-defined]


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(PLAIN.get(one, "?") for one in missing), error.end


class Bar(Protocol):
    """Long work with a known end."""

    def advance(self, n: float = 1) -> None:
        """Say that `n` more of the total is done."""


class Progress:
    """Says to `stream` (stderr by default) what is going on; nothing with `quiet`."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._quiet, self._stream = quiet, stream or sys.stderr

    def say(self, line: str) -> None:
        """One line."""
        if not self._quiet:
            print(f"  {line}", file=self._stream, flush=True)

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator[Bar]:
        """A bar for the work inside, of `total` units."""
        if self._quiet:
            yield _Silent()
        elif self._stream.isatty():
            with _moving(title, total, self._stream) as bar:
                yield bar
        else:
            self.say(title)
            yield _Plain(title, total, self)


class _Silent:
    def advance(self, n: float = 1) -> None:
        """Nothing to say."""


class _Plain:
    """A line at every quarter."""

    def __init__(self, title: str, total: float, progress: Progress) -> None:
        self._title, self._total, self._progress = title, total, progress
        self._done, self._said = 0.0, 0

    def advance(self, n: float = 1) -> None:
        """Say how much is done when another quarter is."""
        self._done += n
        quarter = int(STEPS * self._done / self._total) if self._total else STEPS
        if quarter > self._said:
            self._said = quarter
            self._progress.say(f"{self._title}: {min(100, 100 * quarter // STEPS)} %")


class _Moving:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, n: float = 1) -> None:
        """Move the bar."""
        self._bars.advance(self._task, n)


@contextmanager
def _moving(title: str, total: float, stream: TextIO) -> Iterator[Bar]:
    from rich.console import Console  # noqa: PLC0415 - slow to load, and seldom needed
    from rich.progress import Progress as Bars  # noqa: PLC0415

    with Bars(console=Console(file=stream), transient=True) as bars:
        yield _Moving(bars, bars.add_task(f"  {title}", total=total))
