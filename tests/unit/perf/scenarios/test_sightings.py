"""What devices were shown of each other's presence is counted by device, and only what is news."""

from types import SimpleNamespace
from typing import Any

from messaging.protocol.frames import Presence, UserPresence
from perf.scenarios.parts.sightings import Sightings


def device(number: int, user: str) -> Any:
    return SimpleNamespace(number=number, account=SimpleNamespace(user=user))


def frame(user: str, state: Any, text: str = "") -> Presence:
    return Presence(users=[UserPresence(user=user, state=state, text=text)])


async def test_an_expectation_is_met_when_every_device_was_shown_what_is_wanted() -> None:
    sightings, first, second = Sightings(), device(1, "bob"), device(2, "cleo")
    expected = sightings.expect("ann", [first, second], lambda entry: entry.state == "away")
    sightings.shown(first, frame("ann", "online"), 1.0)
    sightings.shown(first, frame("ann", "away"), 2.0)
    assert not await expected.met(within_s=0.01)
    sightings.shown(second, frame("ann", "away"), 3.0)
    sightings.shown(second, frame("ann", "away"), 4.0)
    assert await expected.met(within_s=0.01)
    assert expected.seen == {1: 2.0, 2: 3.0}


def test_what_a_new_session_is_told_again_is_no_change() -> None:
    sightings, watcher = Sightings(), device(1, "bob")
    for _ in range(3):
        sightings.shown(watcher, frame("ann", "online"), 1.0)
    assert sightings.changes_of("ann") == 1
    sightings.shown(watcher, frame("ann", "online", "hello"), 2.0)
    assert sightings.changes_of("ann") == 2


def test_what_a_user_is_shown_of_themselves_is_nobody_elses_view() -> None:
    sightings = Sightings()
    sightings.shown(device(1, "ann"), frame("ann", "away"), 1.0)
    assert sightings.changes_of("ann") == 0
    assert (sightings.frames, sightings.entries) == (1, 1)
