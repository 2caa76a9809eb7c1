"""A line that was given up before it opened never opens: two at once would mix two sessions into one device."""

from perf.load.line import Line


class Owner:
    def __init__(self) -> None:
        self.opened = 0

    def on_open(self, line: Line) -> None:
        self.opened += 1

    def on_message(self, data: bytes) -> None: ...

    def on_end(self, line: Line, code: int) -> None: ...


class Transport:
    disconnected = False

    def disconnect(self) -> None:
        self.disconnected = True


def test_a_line_that_was_closed_before_it_was_open_hangs_up_and_tells_nobody() -> None:
    owner, transport = Owner(), Transport()
    line = Line(owner)
    line.close()
    line.on_ws_connected(transport)  # type: ignore[arg-type]
    assert transport.disconnected
    assert owner.opened == 0


def test_a_line_that_is_wanted_tells_its_owner() -> None:
    owner = Owner()
    Line(owner).on_ws_connected(Transport())  # type: ignore[arg-type]
    assert owner.opened == 1
