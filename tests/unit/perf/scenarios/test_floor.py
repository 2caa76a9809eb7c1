"""A day ends once everyone who is here was shown their own last marks, where marks are shown at all."""

from types import SimpleNamespace
from typing import Any

import pytest

from perf.scenarios import production
from perf.scenarios.parts.floor import Floor, Room
from perf.scenarios.parts.shelves import Shelves

ROOM = "room"


def device(*, unsettled: bool = True, online: bool = True) -> Any:
    client = SimpleNamespace(unsettled={ROOM: None} if unsettled else {})
    return SimpleNamespace(online=online, client=client)


def floor(*devices: Any, members: int | None = None) -> Floor:
    """Each person with one device, and the first `members` of them in the room."""
    people = range(len(devices))
    room = Room(id=ROOM, founder=0, members=set(people[: len(devices) if members is None else members]))  # fmt: skip
    keys = [(person, 0) for person in people]
    return Floor(
        urls=[],
        people=[],
        recorder=SimpleNamespace(),  # type: ignore[arg-type]
        shelves=SimpleNamespace(),  # type: ignore[arg-type]
        devices=dict(zip(keys, devices, strict=True)),
        present=set(keys),
        rooms=[room],
    )


@pytest.mark.parametrize(
    ("made", "waited_for"),
    [
        (floor(device(), device(), device(unsettled=False)), 2),
        (floor(device(), device(online=False)), 1),
        (floor(device(), device(), members=1), 1),
        (floor(*[device()] * 100), 100),
        (floor(*[device()] * 101), 0),  # only counts are shown there
    ],
)
def test_marks_that_their_own_devices_were_not_shown_are_waited_for(
    made: Floor, waited_for: int
) -> None:
    assert made.unconfirmed() == waited_for


def test_who_has_gone_home_is_not_waited_for() -> None:
    made = floor(device(), device())
    made.present.discard((0, 0))
    assert made.unconfirmed() == 1


class Fleet:
    """One that turns its devices away; they come back by themselves, or never."""

    def __init__(self, *, comes: bool) -> None:
        self.asked, self.comes = 0, comes
        self.devices: list[Any] = []

    def device(self, account: Any, *, starts: Any) -> Any:
        return SimpleNamespace(online=False, since=0.0, leave=lambda: None)

    async def open(self, device: Any) -> bool:
        self.asked += 1
        return False

    async def come(self, device: Any, *, within_s: float, wanted: Any) -> bool:
        device.online, device.since = self.comes, float(self.comes)
        return self.comes


@pytest.mark.parametrize("comes", [True, False])
async def test_who_is_turned_away_comes_back_by_the_client_s_rules_and_is_asked_for_once(
    comes: bool,
) -> None:
    made, fleet = floor(), Fleet(comes=comes)
    made.fleets = [fleet]  # type: ignore[list-item]
    assert await made.enter((0, 0), SimpleNamespace()) == comes  # type: ignore[arg-type]
    assert fleet.asked == 1
    assert len(fleet.devices) == 1
    assert bool(made.staying) == comes


def test_what_happened_on_a_day_can_be_written_for_people() -> None:
    shelves = Shelves()
    shelves.turned_away[4008] = 3
    made = floor()
    made.shelves = shelves
    office: Any = SimpleNamespace(floor=made, deploys_s=[], back_s=[])
    assert production.facts(office)["turned_away"] == {"4008": 3}  # reports take names only
