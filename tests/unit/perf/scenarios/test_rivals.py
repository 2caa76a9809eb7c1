"""Who loses a version must be told `conflict`, with the message exactly as the winner left it."""

from typing import Any

import msgspec
import pytest

from messaging.protocol.frames import Error, Message
from perf.load.observer import Sent
from perf.scenarios.parts.checks import Checks
from perf.scenarios.parts.rivals import ONE_WINS, TOLD, Answers, Rivals

KNOWN = Sent(conversation="c", client_id="k", intended=0, actual=0, message="m", version=3, seq=9)
CURRENT = Message(id="m", seq=12, position=1, version=4, body="the winner's")


def tried(key: str) -> Sent:
    return Sent(what="edit", conversation="c", client_id=key, intended=0, actual=0, of="m", base_version=3)  # fmt: skip


def judged(*, winners: int = 1, **current: Any) -> dict[str, bool]:
    """Which of the checks held for one winner and one loser, or for two winners."""
    answers, checks = Answers(expected=frozenset()), Checks()
    won, lost = tried("won"), tried("lost")
    won.version, won.seq, won.message = 4, 12, "m"
    answers.taken["won"] = won
    if winners == 2:
        answers.taken["lost"] = lost
    else:
        shown = msgspec.structs.replace(CURRENT, **current)
        answers.given_up["lost"] = Error(code="conflict", message="", current=shown)
    rivals = Rivals(devices=[], answers=answers, checks=checks)
    known = Sent(conversation="c", client_id="k", intended=0, actual=0, message="m", version=3)
    rivals._judge(known, [(won, "the winner's"), (lost, "the loser's")])
    assert known.version == 4 or winners == 2
    return {one.name: one.held == one.checked for one in checks.covered()}


def test_one_winner_and_a_loser_who_is_told_so_are_right() -> None:
    assert judged() == {ONE_WINS: True, TOLD: True}


def test_two_winners_of_one_version_are_wrong() -> None:
    assert judged(winners=2)[ONE_WINS] is False


@pytest.mark.parametrize(
    "current",
    [{"body": "the loser's"}, {"version": 3}, {"seq": 9}, {"deleted": 1}, {"id": "other"}],
)
def test_a_loser_who_is_told_anything_else_is_wrong(current: dict[str, Any]) -> None:
    assert judged(**current)[TOLD] is False
