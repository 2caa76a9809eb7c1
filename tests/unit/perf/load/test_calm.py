"""When a flood counts as over: errors have stopped, everything arrived, and no window is slow."""

from __future__ import annotations

from itertools import count
from typing import cast

import pytest

from messaging.protocol import frames
from perf.load.calm import STEADY, WINDOW_S, Calm
from perf.load.device import Device
from perf.load.observer import Sent

# The windows only ask which of two devices it is.
SENDER, READER = cast("Device", object()), cast("Device", object())
ENDED = 10 * WINDOW_S  # after the beginning
BOUND_S = 0.05


class Story:
    """A calm phase, a flood and what followed, told window by window."""

    def __init__(self) -> None:
        self.calm = Calm(others=1)
        self.calm.begun = 0.0
        self._numbers = count()

    def window(
        self, number: int, *, took_s: float = 0.01, acked: bool = True, arrived: bool = True
    ) -> None:
        """Two messages in a window."""
        for _ in range(2):
            key, intended = f"k{next(self._numbers)}", (number + 0.5) * WINDOW_S
            sent = Sent(conversation="c", client_id=key, intended=intended, actual=intended)
            self.calm.sent(SENDER, sent)
            if acked:
                self.calm.acked(SENDER, sent, intended + took_s)
            if arrived:
                message = frames.Message(id=key, seq=1, position=1, client_id=key)
                self.calm.delivered(READER, [message], intended + took_s)

    def windows(self, first: int, upto: int, *, took_s: float = 0.01) -> None:
        """Those from `first` to before `upto`."""
        for number in range(first, upto):
            self.window(number, took_s=took_s)

    @property
    def recovered(self) -> float | None:
        """How long after the end it was calm again."""
        return self.calm.recovered(ENDED, bound_s=BOUND_S)


@pytest.fixture
def story() -> Story:
    return Story()


def test_who_is_served_as_before_from_the_end_on_has_recovered_at_once(story: Story) -> None:
    story.windows(0, 11 + STEADY)
    assert story.recovered == 0


def test_slow_windows_after_the_end_count_to_the_recovery(story: Story) -> None:
    story.windows(0, 10)
    story.windows(10, 14, took_s=0.2)
    story.windows(14, 15 + STEADY)
    assert story.recovered == pytest.approx(4 * WINDOW_S)


def test_too_few_calm_windows_are_no_recovery_yet(story: Story) -> None:
    story.windows(0, 10 + STEADY)  # the last may not be over yet
    assert story.recovered is None


def test_windows_that_a_late_generator_has_not_come_to_are_no_calm(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.windows(0, 11)
    monkeypatch.setattr("perf.load.calm.clock", lambda: 40 * WINDOW_S)
    story.calm.refused(READER, "overloaded", final=False)  # now, far ahead of what was sent
    assert story.recovered is None
    story.windows(20, 21 + STEADY)  # nothing was sent in the ten windows before
    assert story.recovered == pytest.approx(10 * WINDOW_S)


@pytest.mark.parametrize("missing", ["acked", "arrived"])
def test_a_message_that_was_not_served_is_no_calm(story: Story, missing: str) -> None:
    story.windows(0, 10)
    story.window(10, acked=missing != "acked", arrived=missing != "arrived")
    story.windows(11, 12 + STEADY)
    assert story.recovered == pytest.approx(WINDOW_S)


def test_an_error_belongs_to_the_moment_at_which_it_came(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.windows(0, 21 + STEADY)
    monkeypatch.setattr("perf.load.calm.clock", lambda: 12.5 * WINDOW_S)
    story.calm.refused(READER, "overloaded", final=False)
    assert story.recovered == pytest.approx(3 * WINDOW_S)


def test_what_a_flood_delayed_counts_where_it_should_have_been_sent(story: Story) -> None:
    story.windows(0, 5)
    story.windows(5, 10, took_s=3.0)
    assert story.calm.latency(0, 5 * WINDOW_S).percentile(99) < 11  # type: ignore[operator]
    assert story.calm.latency(5 * WINDOW_S, ENDED).percentile(50) > 2_900  # type: ignore[operator]


def test_the_reference_is_the_worst_window_of_the_calm_phase(story: Story) -> None:
    story.windows(0, 5)
    story.window(5, took_s=0.03)
    story.windows(6, 10)
    assert story.calm.reference_s(0, ENDED) == pytest.approx(0.03)
    assert Story().calm.reference_s(0, ENDED) is None
