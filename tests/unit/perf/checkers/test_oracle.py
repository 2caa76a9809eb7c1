"""On tiny histories the linear checkers agree with an oracle that tries every possibility.

The oracle knows nothing of cursors, bisection or sweeps: it enumerates orders of the events and asks
whether any one of them explains what was seen.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, permutations
from typing import NamedTuple, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from perf.checkers import judge
from perf.checkers.numbering import Unseen, _unexplained
from perf.history.events import (
    Acked,
    AnyEvent,
    AnyStored,
    Change,
    Closed,
    Cursors,
    Delivered,
    DeviceMade,
    Opened,
    Page,
    Removed,
    RunBegan,
    RunEnded,
    Sent,
    Stay,
    StoredConversation,
)
from perf.history.reader import Evidence, gather

ROOM = "room"


class Call(NamedTuple):
    """A request of a device: when it was begun and answered, and the place it got."""

    device: int
    sent: int
    answered: int
    place: int


def evidence_of(calls: Sequence[Call]) -> Evidence:
    """A history of nothing but requests and answers; who sent them is nobody else's concern."""
    timed: list[tuple[int, AnyEvent]] = []
    for number, call in enumerate(calls):
        key, message = f"run.{call.device}.{number}", f"m{number}"
        timed.append((call.sent, Sent(call.sent, call.device, call.sent, key, ROOM, 1)))
        ack = Acked(call.answered, call.device, key, message, call.place, call.place, 1)
        timed.append((call.answered, ack))
    made: list[AnyEvent] = [
        DeviceMade(0, device, f"d{device}", f"u{device}") for device in (1, 2, 3)
    ]
    events = [event for _, event in sorted(timed, key=lambda one: one[0])]
    rows = tuple(
        Change(
            call.place,
            f"m{number}",
            call.place,
            1,
            f"d{call.device}",
            f"run.{call.device}.{number}",
            1,
        )
        for number, call in sorted(enumerate(calls), key=lambda one: one[1].place)
    )
    stored = StoredConversation(ROOM, 0, len(calls), "all", rows)
    return gather([[RunBegan(0, "run", "oracle", 0), *made, *events, RunEnded(99)]], [stored])


@st.composite
def requests(draw: st.DrawFn) -> list[Call]:
    count = draw(st.integers(1, 3))  # each is two events
    moments = draw(st.permutations(range(1, 2 * count + 1)))
    places = draw(st.permutations(range(1, count + 1)))
    pairs = [sorted(moments[2 * at : 2 * at + 2]) for at in range(count)]
    devices = [draw(st.integers(1, 3)) for _ in range(count)]
    return [Call(d, s, a, p) for d, (s, a), p in zip(devices, pairs, places, strict=True)]


def is_linearizable(calls: Sequence[Call]) -> bool:
    """Whether the calls can each have happened at one moment between begin and answer, in the order of
    their places: tried with every assignment of moments."""
    ordered = sorted(calls, key=lambda call: call.place)
    moments = [half + 0.5 for half in range(2 * len(calls) + 1)]
    for chosen in combinations_with_order(moments, len(calls)):
        if all(call.sent < at < call.answered for call, at in zip(ordered, chosen, strict=True)):
            return True
    return False


def combinations_with_order(moments: Sequence[float], count: int) -> Iterator[tuple[float, ...]]:
    """Every way to give so many calls moments that do not fall."""
    fine = sorted(moment + step / 10 for moment in moments for step in range(count))
    yield from combinations(fine, count)


@given(calls=requests())
def test_an_inversion_is_found_exactly_where_no_order_explains_the_places(
    calls: list[Call],
) -> None:
    found = judge(evidence_of(calls)).counts["realtime inversion"]
    assert bool(found) == (not is_linearizable(calls))


@given(calls=requests())
def test_requests_cross_exactly_where_two_of_a_device_do(calls: list[Call]) -> None:
    found = judge(evidence_of(calls)).counts["nonmonotonic send"]
    pairs = permutations(calls, 2)
    crossed = any(a.device == b.device and a.sent < b.sent and a.place > b.place for a, b in pairs)
    assert bool(found) == crossed


# What devices are shown

MESSAGES = 3


class Frame(NamedTuple):
    since: int
    upto: int


frames = st.tuples(st.integers(0, MESSAGES - 1), st.integers(1, MESSAGES)).filter(
    lambda pair: pair[0] < pair[1]
)


def row(seq: int) -> Change:
    return Change(seq, f"m{seq}", seq, 1, None, None, seq)


AGAIN, LEFT = "comes back", "is told that its user has left"
steps = st.lists(st.one_of(frames, st.sampled_from([AGAIN, LEFT])), max_size=5)
Steps: TypeAlias = Sequence[tuple[int, int] | str]


def lived(sequence: Steps) -> Evidence:
    """A device that gets these frames, may lose its connection, and may be told what is not true."""
    events: list[AnyEvent] = [RunBegan(0, "run", "oracle", 0), DeviceMade(0, 1, "d1", "u")]
    events.append(Opened(1, 1, "s", {ROOM: 0}, {}))
    cursor = 0
    for number, step in enumerate(sequence):
        if step == AGAIN:
            events += [Closed(3, 1, 1006, "server"), Opened(3, 1, "s", {ROOM: cursor}, {})]
        elif isinstance(step, str):
            events.append(Removed(3, 1, ROOM, cursor))
        else:
            since, upto = step
            rows = tuple(row(seq) for seq in range(since + 1, upto + 1))
            events += [Page(2, number, ROOM, since, upto, rows), Delivered(3, 1, number)]
            cursor = upto if since <= cursor < upto else cursor
    events += [Cursors(4, 1, {ROOM: cursor}, connected=True), RunEnded(9)]
    rows = tuple(row(seq) for seq in range(1, MESSAGES + 1))
    stored = StoredConversation(ROOM, 0, MESSAGES, "all", rows)
    return gather([events], [stored, Stay(ROOM, "u", 0, None)])


@given(sequence=steps)
def test_who_comes_back_and_is_told_lies_is_acquitted_exactly_if_all_came_once_in_order(
    sequence: Steps,
) -> None:
    """It says where it is when it comes back; that its user has left is never true. Lost is what no frame brought."""
    got = [step for step in sequence if not isinstance(step, str)]
    spelled = [seq for since, upto in got for seq in range(since + 1, upto + 1)]
    perfect = spelled == list(range(1, MESSAGES + 1)) and LEFT not in sequence
    judgement = judge(lived(sequence))
    assert (judgement.anomalies == 0) == perfect
    assert judgement.counts["lost"] == MESSAGES - len(set(spelled))


def shown(sequences: Sequence[Sequence[tuple[int, int]]]) -> Evidence:
    """Devices that are connected all the time and get these frames."""
    events: list[AnyEvent] = [RunBegan(0, "run", "oracle", 0)]
    pages: dict[tuple[int, int], int] = {}
    for device, sequence in enumerate(sequences, start=1):
        events += [DeviceMade(0, device, f"d{device}", "u"), Opened(1, device, "s", {ROOM: 0}, {})]
        cursor = 0
        for since, upto in sequence:
            if (since, upto) not in pages:
                pages[since, upto] = len(pages)
                rows = tuple(row(seq) for seq in range(since + 1, upto + 1))
                events.append(Page(2, pages[since, upto], ROOM, since, upto, rows))
            events.append(Delivered(3, device, pages[since, upto]))
            cursor = upto if since <= cursor < upto else cursor
        events.append(Cursors(4, device, {ROOM: cursor}, connected=True))
    rows = tuple(row(seq) for seq in range(1, MESSAGES + 1))
    stored: list[AnyStored] = [
        StoredConversation(ROOM, 0, MESSAGES, "all", rows),
        Stay(ROOM, "u", 0, None),
    ]
    return gather([[*events, RunEnded(9)]], stored)


@given(sequence=st.lists(frames, max_size=4))
def test_a_device_is_acquitted_exactly_if_its_frames_say_everything_once_and_in_order(
    sequence: list[tuple[int, int]],
) -> None:
    spelled = [seq for since, upto in sequence for seq in range(since + 1, upto + 1)]
    perfect = spelled == list(range(1, MESSAGES + 1))
    judgement = judge(shown([sequence]))
    assert (judgement.anomalies == 0) == perfect


@given(sequence=st.lists(frames, max_size=4))
def test_a_change_is_lost_exactly_if_no_frame_brought_it(sequence: list[tuple[int, int]]) -> None:
    came = {seq for since, upto in sequence for seq in range(since + 1, upto + 1)}
    assert judge(shown([sequence])).counts["lost"] == MESSAGES - len(came)


@given(orders=st.lists(st.permutations(range(1, MESSAGES + 1)), min_size=1, max_size=2))
def test_orders_are_found_to_diverge_exactly_if_the_union_of_what_devices_saw_has_a_cycle(
    orders: list[list[int]],
) -> None:
    """Devices see the stored messages under rising numbers, but perhaps not each its own."""
    stored = [list(range(1, MESSAGES + 1)), *orders]
    edges = {(a, b) for order in stored for a, b in pairwise(order)}
    diverged = judge(permuted(orders)).counts["diverged order"]
    assert bool(diverged) == has_cycle(edges)


def has_cycle(edges: set[tuple[int, int]]) -> bool:
    """Whether no order of all nodes respects every edge: tried with all of them."""
    nodes = range(1, MESSAGES + 1)
    return not any(
        all(order.index(a) < order.index(b) for a, b in edges) for order in permutations(nodes)
    )


def permuted(orders: Sequence[Sequence[int]]) -> Evidence:
    events: list[AnyEvent] = [RunBegan(0, "run", "oracle", 0)]
    for device, order in enumerate(orders, start=1):
        rows = tuple(
            row(message)._replace(seq=seq, position=seq)
            for seq, message in enumerate(order, start=1)
        )
        events += [
            DeviceMade(0, device, f"d{device}", "u"),
            Opened(1, device, "s", {ROOM: 0}, {}),
            Page(2, device, ROOM, 0, MESSAGES, rows),
            Delivered(3, device, device),
            Cursors(4, device, {ROOM: MESSAGES}, connected=True),
        ]
    rows = tuple(row(seq) for seq in range(1, MESSAGES + 1))
    stored: list[AnyStored] = [
        StoredConversation(ROOM, 0, MESSAGES, "all", rows),
        Stay(ROOM, "u", 0, None),
    ]
    return gather([[*events, RunEnded(9)]], stored)


# Numbers that nobody explains

intervals = st.tuples(st.integers(0, 7), st.integers(2, 8), st.integers(1, 2)).filter(
    lambda one: one[0] + 1 < one[1]
)


@given(holes=st.sets(st.integers(1, 8), max_size=4), unseen=st.lists(intervals, max_size=3))
def test_holes_are_matched_with_unseen_changes_as_well_as_can_be(
    holes: set[int], unseen: list[tuple[int, int, int]]
) -> None:
    slots = [(low, high) for low, high, times in unseen for _ in range(times)]
    left = list(_unexplained(sorted(holes), sorted(Unseen(*one) for one in unseen)))
    assert len(left) == len(holes) - best_matching(sorted(holes), slots)


def best_matching(holes: Sequence[int], slots: Sequence[tuple[int, int]]) -> int:
    """The most holes that can each be given a slot of its own: tried with every choice."""
    if not holes:
        return 0
    first, rest = holes[0], holes[1:]
    best = best_matching(rest, slots)
    for at, (low, high) in enumerate(slots):
        if low < first < high:
            best = max(best, 1 + best_matching(rest, [*slots[:at], *slots[at + 1 :]]))
    return best
