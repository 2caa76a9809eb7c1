"""Everything that others see is timed from the moment that the plan intended, and what they never see is missed."""

from types import SimpleNamespace
from typing import Any

from messaging.protocol.frames import DeviceMark, Message, Presence, Receipts, Typed, UserPresence
from perf.load.observer import Sent
from perf.load.plan import NOTHING, Arrival, What
from perf.measure.series import Series
from perf.scenarios.parts.moments import Moments


def device(number: int, user: str) -> Any:
    client = SimpleNamespace(cursors={"c": 7}, reads={})
    account = SimpleNamespace(user=user, device=f"d{number}", conversations=("c",))
    return SimpleNamespace(number=number, online=True, since=0.0, account=account, client=client)


ANN, ANNS_OTHER, BOB = device(1, "ann"), device(2, "ann"), device(3, "bob")


def moments(tmp_path: Any) -> Moments:
    made = Moments(Series(tmp_path / "series.jsonl"), far={2}, reading=set())
    made.expect({"c": [ANN, ANNS_OTHER, BOB]})
    made.count_from = 10.0
    return made


def due(what: What) -> Arrival:
    return Arrival(number=5, at=0.0, device=0, what=what, length=0, target=NOTHING)


def read(upto: int) -> Receipts:
    return Receipts(conversation="c", marks=[DeviceMark(device="d1", user="ann", delivered=7, read=upto)])  # fmt: skip


def test_a_read_is_a_receipt_for_others_and_a_badge_for_the_users_own(tmp_path: Any) -> None:
    it = moments(tmp_path)
    it.noted(ANN, due("read"), 11.0)
    it.marked(BOB, read(6), 11.01)
    assert (it.receipts.shown, it.receipts.due, it.complete) == (0, 1, False)
    it.marked(BOB, read(7), 11.03)
    it.marked(ANNS_OTHER, read(7), 11.05)
    assert it.receipts.latency.summary().max == 30.0
    assert it.badges.latency.summary().max == 50.0
    assert it.complete


def test_typing_is_timed_at_the_others_and_wrong_at_the_users_own_devices(tmp_path: Any) -> None:
    it = moments(tmp_path)
    it.noted(ANN, due("type"), 11.0)
    it.typed(BOB, Typed(conversation="c", user="ann", typing=True), 11.02)
    assert (it.typing.latency.summary().max, it.misplaced) == (20.0, 0)
    it.typed(ANNS_OTHER, Typed(conversation="c", user="ann", typing=True), 11.02)
    it.typed(BOB, Typed(conversation="elsewhere", user="ann", typing=True), 11.02)
    assert it.misplaced == 2


def test_a_text_is_known_by_its_number(tmp_path: Any) -> None:
    it = moments(tmp_path)
    it.noted(ANN, due("status"), 11.0)
    for text in ("4", "5", "5"):
        users = [UserPresence(user="ann", state="online", text=text)]
        it.shown(BOB, Presence(users=users), 11.04)
    assert (it.texts.latency.count, it.texts.latency.summary().max) == (1, 40.0)


def test_an_edit_is_timed_by_the_version_that_it_makes(tmp_path: Any) -> None:
    it = moments(tmp_path)
    edit = Sent(what="edit", conversation="c", client_id="e", intended=11.0, actual=11.0, of="m", base_version=1)  # fmt: skip
    it.sent(ANN, edit)
    for version in (1, 2):
        it.delivered(BOB, [Message(id="m", seq=version, position=1, version=version)], 11.06)
    it.delivered(ANN, [Message(id="m", seq=2, position=1, version=2)], 11.06)
    assert (it.edits.count, it.edits.summary().max) == (1, 60.0)


def test_nothing_of_the_warm_up_counts(tmp_path: Any) -> None:
    it = moments(tmp_path)
    for what in ("read", "type", "status"):
        it.noted(ANN, due(what), 9.0)
    assert it.receipts.due == it.typing.due == it.texts.due == 0
