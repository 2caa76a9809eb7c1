"""A standing says where a device begins and where it ends."""

from __future__ import annotations

from messaging.protocol.server.actions import Standing, Stored


def standing(*, joined_seq: int, left_seq: int | None = None) -> Standing:
    return Standing(
        conversation="c",
        kind="group",
        title="",
        last_seq=9,
        joined_seq=joined_seq,
        left_seq=left_seq,
    )


def test_new_device_begins_with_the_change_that_let_its_user_in() -> None:
    assert standing(joined_seq=4).first == 3


def test_stay_that_no_change_began_starts_with_the_first_one() -> None:
    assert standing(joined_seq=0).first == 0


def test_present_member_may_see_the_last_change() -> None:
    assert standing(joined_seq=4).last == 9


def test_former_member_may_see_nothing_beyond_the_end_of_the_stay() -> None:
    assert standing(joined_seq=4, left_seq=6).last == 6


def test_write_counts_as_new_unless_it_is_said_to_be_a_repeat() -> None:
    assert not Stored(message="m", seq=1, position=1, version=1, created=0).repeated
