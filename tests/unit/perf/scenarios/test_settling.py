"""Sessions end once their devices were shown their own marks; where there are only counts nothing is waited for."""

from types import SimpleNamespace
from typing import Any

from perf.scenarios.parts.shared import unconfirmed


def fleet(devices: int, *, unsettled: tuple[str, ...], online: bool = True) -> Any:
    client = SimpleNamespace(unsettled=dict.fromkeys(unsettled))
    account = SimpleNamespace(conversations=("c", "d"))
    one = SimpleNamespace(online=online, client=client, account=account)
    return SimpleNamespace(devices=[one] * devices)


def test_marks_that_were_not_shown_are_waited_for_on_every_fleet() -> None:
    assert unconfirmed(fleet(2, unsettled=("c",)), fleet(1, unsettled=("c", "d"))) == 4
    assert unconfirmed(fleet(2, unsettled=())) == 0


def test_a_device_that_is_away_is_shown_nothing() -> None:
    assert unconfirmed(fleet(2, unsettled=("c",), online=False)) == 0


def test_in_a_conversation_of_more_than_100_devices_no_mark_is_ever_shown() -> None:
    assert unconfirmed(fleet(60, unsettled=("c",)), fleet(41, unsettled=("c",))) == 0
