"""Flows: what is timed, from when, and between whom."""

from types import SimpleNamespace
from typing import cast

from messaging.protocol import frames
from perf.load.device import Device
from perf.load.flow import Flow
from perf.load.observer import Sent


def device(number: int, user: str) -> Device:
    """As much of a device as a flow looks at."""
    facts = {"number": number, "online": True, "since": 0.0, "account": SimpleNamespace(user=user)}
    return cast("Device", SimpleNamespace(**facts))


ANN, ANNS_OTHER, BOB = device(1, "ann"), device(2, "ann"), device(3, "bob")


def flow_with_one_sent() -> tuple[Flow, Sent]:
    flow = Flow()
    flow.count_from = 0.0
    sent = Sent(conversation="c", client_id="k", intended=10.0, actual=10.002, seq=5)
    flow.sent(ANN, sent)
    return flow, sent


def shown() -> list[frames.Message]:
    return [frames.Message(id="m5", seq=5, position=5, client_id="k")]


def read_by(who: str, upto: int) -> frames.Receipts:
    mark = frames.DeviceMark(device="d", user=who, delivered=upto, read=upto)
    return frames.Receipts(conversation="c", marks=[mark])


def test_delivery_counts_from_the_intended_moment_and_not_on_the_sending_device() -> None:
    flow, _ = flow_with_one_sent()
    flow.delivered(ANN, shown(), 10.004)
    assert flow.delivery.count == 0
    flow.delivered(BOB, shown(), 10.005)
    assert flow.delivery.summary().max == 5.0
    assert flow.uncorrected.summary().max == 3.0
    assert flow.live.count == 0
    flow.delivered(ANNS_OTHER, shown(), 10.007)
    assert flow.live.summary().max == 7.0


def test_a_read_receipt_counts_only_if_another_user_has_read() -> None:
    flow, sent = flow_with_one_sent()
    flow.acked(ANN, sent, 10.003)
    flow.marked(ANN, read_by("ann", 5), 10.004)
    flow.marked(ANN, read_by("bob", 4), 10.004)
    assert (flow.receipt.count, flow.unread) == (0, 1)
    flow.marked(ANN, read_by("bob", 5), 10.009)
    assert (flow.receipt.summary().max, flow.unread) == (9.0, 0)


def test_a_read_receipt_that_overtakes_the_answer_counts_too() -> None:
    flow, sent = flow_with_one_sent()
    flow.marked(ANN, read_by("bob", 5), 10.003)
    flow.acked(ANN, sent, 10.004)
    assert (flow.receipt.count, flow.unread) == (1, 0)


def test_what_was_sent_before_the_count_began_is_not_timed() -> None:
    flow, _ = flow_with_one_sent()
    flow.count_from = 11.0
    late = Sent(conversation="c", client_id="k2", intended=10.9, actual=11.1, seq=6)
    flow.sent(ANN, late)
    flow.acked(ANN, late, 11.2)
    assert flow.answer.count == 0
