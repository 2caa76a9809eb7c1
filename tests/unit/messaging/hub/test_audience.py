"""Who hears a group besides this process, by a clock of the test's own."""

import pytest

from messaging.hub.audience import BELIEVED_S, Audience

GROUP = "conversation.1"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def audience(clock: Clock) -> Audience:
    """Of a process that hears GROUP."""
    audience = Audience(clock)
    audience.entered(GROUP)
    return audience


def published(audience: Audience, heard: int) -> None:
    audience.counted(GROUP, heard, since=audience.now())


def test_what_only_this_process_hears_lacks_an_audience_until_that_is_asked_again(
    audience: Audience, clock: Clock
) -> None:
    assert not audience.lacks(GROUP)
    published(audience, 1)
    assert audience.lacks(GROUP)
    clock.now += BELIEVED_S
    assert not audience.lacks(GROUP)


@pytest.mark.parametrize("heard", [0, 2, 3])
def test_what_others_hear_and_what_not_even_this_process_hears_is_published(
    audience: Audience, heard: int
) -> None:
    published(audience, 1)
    published(audience, heard)
    assert not audience.lacks(GROUP)


def test_a_group_that_this_process_does_not_hear_is_published_to(clock: Clock) -> None:
    audience = Audience(clock)
    published(audience, 1)
    assert not audience.lacks(GROUP)
    audience.entered(GROUP)
    published(audience, 1)
    audience.left(GROUP)
    assert not audience.lacks(GROUP)


def test_a_hub_that_enters_is_told_the_last_change_that_was_withheld_once(
    audience: Audience,
) -> None:
    published(audience, 1)
    assert all(audience.lacks(GROUP, change) for change in (7, 8))
    assert audience.lacks(GROUP)  # marks have no number
    assert audience.came(GROUP) == 8
    assert not audience.lacks(GROUP)
    assert audience.came(GROUP) == 0


def test_a_count_from_before_another_hub_entered_says_nothing(audience: Audience) -> None:
    sent = audience.now()
    audience.came(GROUP)
    audience.counted(GROUP, 1, since=sent)
    assert not audience.lacks(GROUP)
