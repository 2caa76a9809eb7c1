"""Progress is a bar on a terminal, plain lines elsewhere, and nothing when nobody wants it."""

import io

from perf.progress import Progress, take_all


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def worked(stream: io.StringIO, *, quiet: bool = False) -> str:
    progress = Progress(quiet=quiet, stream=stream)
    progress.say("beginning")
    with progress.bar("connecting", 10) as bar:
        for _ in range(10):
            bar.advance()
    return stream.getvalue()


def test_elsewhere_there_is_a_plain_line_for_each_quarter() -> None:
    quarters = [f"  connecting: {done} %" for done in (25, 50, 75, 100)]
    assert worked(io.StringIO()).splitlines() == ["  beginning", "  connecting", *quarters]


def test_on_a_terminal_there_is_a_bar_that_goes_away() -> None:
    shown = worked(Terminal())
    assert "100%" in shown
    assert "\x1b[" in shown


def test_nothing_is_said_when_nobody_wants_it() -> None:
    assert worked(io.StringIO(), quiet=True) == ""


def test_a_terminal_without_these_characters_is_shown_others() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    take_all(stream, object())
    print("✓ held ≤ 5 … ✗ fell 語", file=stream, flush=True)
    assert raw.getvalue() == b"+ held <= 5 ... x fell ?\n"
