"""The checker acquits a good history and convicts each kind of bad one by its name."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.checkers import NAMES, Judgement, Row, Stored
from perf.checkers.identity import judge
from perf.history import Entry, History, Log, Page, Promise

DEVICES = ("ann-phone", "ann-laptop", "bob-phone")
CHAT = "chat"


def good(*, start: int = 3, count: int = 12, page: int = 4) -> tuple[History, dict[str, Stored]]:
    """Every device saw `count` messages of the first device after `start`, some to a page."""
    seqs = range(start + 1, start + count + 1)
    rows = [Row(seq, f"m{seq}", DEVICES[0], f"k{seq}") for seq in seqs]
    history = History(
        sent={f"k{seq}": DEVICES[0] for seq in seqs},
        promises=[Promise(DEVICES[0], f"k{seq}", f"m{seq}", seq) for seq in seqs],
    )
    shared = [_page(rows[at : at + page], since=start + at) for at in range(0, count, page)]
    for device in DEVICES:
        history.logs[device] = Log(device, starts={CHAT: start}, pages=list(shared))
    return history, {CHAT: Stored(last_seq=start + count, rows=rows)}


def _page(rows: list[Row], *, since: int) -> Page:
    entries = tuple(Entry(row.seq, row.id, row.client_id) for row in rows)
    return Page(conversation=CHAT, since=since, upto=since + len(rows), entries=entries)


def convicted(judgement: Judgement) -> set[str]:
    return {name for name, count in judgement.counts.items() if count}


def test_a_good_history_is_acquitted_and_counted() -> None:
    judgement = judge(*good())
    assert convicted(judgement) == set()
    assert (judgement.messages, judgement.deliveries, judgement.promises) == (12, 36, 12)
    assert judgement.expected == 36
    assert judgement.exercised


@given(
    start=st.integers(0, 50),
    count=st.integers(1, 40),
    page=st.integers(1, 15),
    later=st.integers(0, 9),
)
def test_any_division_into_pages_is_acquitted(
    start: int, count: int, page: int, later: int
) -> None:
    history, stored = good(start=start, count=count, page=page)
    log = history.logs["bob-phone"]  # has joined the run later than the others
    log.pages = log.pages[min(later, len(log.pages)) :]
    log.starts[CHAT] = log.pages[0].since if log.pages else stored[CHAT].last_seq
    assert convicted(judge(history, stored)) == set()


def test_a_change_that_a_later_one_replaced_is_no_phantom() -> None:
    history, _ = good(start=0, count=4, page=2)
    edited = [Row(1, "m1", DEVICES[0], "k1"), Row(3, "m3", DEVICES[0], "k3")]
    edited += [Row(4, "m4", DEVICES[0], "k4"), Row(5, "m2", DEVICES[0], "k2")]
    for log in history.logs.values():
        log.pages.append(_page([edited[-1]], since=4))
    assert convicted(judge(history, {CHAT: Stored(last_seq=5, rows=edited)})) == set()


Plant = Callable[[History, dict[str, Stored]], None]


def _lose_a_delivery(history: History, stored: dict[str, Stored]) -> None:
    page = history.logs["bob-phone"].pages[1]
    history.logs["bob-phone"].pages[1] = replace(page, entries=page.entries[:1] + page.entries[2:])


def _lose_the_end(history: History, stored: dict[str, Stored]) -> None:
    history.logs["bob-phone"].pages.pop()


def _lose_a_stored_message(history: History, stored: dict[str, Stored]) -> None:
    # Nobody saw it either: only its sender, who has the promise, can know.
    stored[CHAT].rows = [row for row in stored[CHAT].rows if row.seq != 9]
    pages = history.logs[DEVICES[0]].pages
    cut = [replace(p, entries=tuple(e for e in p.entries if e.seq != 9)) for p in pages]
    for log in history.logs.values():
        log.pages = list(cut)


def _deliver_twice(history: History, stored: dict[str, Stored]) -> None:
    log = history.logs["bob-phone"]
    log.pages.insert(2, log.pages[1])


def _lose_one_and_deliver_another_twice(history: History, stored: dict[str, Stored]) -> None:
    page = history.logs["bob-phone"].pages[1]
    entries = (page.entries[0], page.entries[0], *page.entries[2:])
    history.logs["bob-phone"].pages[1] = replace(page, entries=entries)


def _store_twice(history: History, stored: dict[str, Stored]) -> None:
    rows = stored[CHAT].rows
    stored[CHAT].rows = [*rows[:-1], rows[-1]._replace(client_id=rows[0].client_id)]
    history.promises.pop(0)  # so that the promises agree
    history.promises.pop()


def _swap_two(history: History, stored: dict[str, Stored]) -> None:
    page = history.logs["bob-phone"].pages[1]
    first, second, *others = page.entries
    history.logs["bob-phone"].pages[1] = replace(page, entries=(second, first, *others))


def _swap_two_pages(history: History, stored: dict[str, Stored]) -> None:
    pages = history.logs["bob-phone"].pages
    pages[0], pages[1] = pages[1], pages[0]


def _invent_a_delivery(history: History, stored: dict[str, Stored]) -> None:
    page = history.logs["bob-phone"].pages[-1]
    ghost = Entry(page.upto, "ghost", None)
    history.logs["bob-phone"].pages[-1] = replace(page, entries=(*page.entries, ghost))


def _store_what_nobody_sent(history: History, stored: dict[str, Stored]) -> None:
    del history.sent["k9"]


def _deliver_from_nowhere(history: History, stored: dict[str, Stored]) -> None:
    history.logs["bob-phone"].pages.append(
        Page(conversation="elsewhere", since=0, upto=1, entries=(Entry(1, "x", None),))
    )


def _promise_another_place(history: History, stored: dict[str, Stored]) -> None:
    history.promises[3] = history.promises[3]._replace(seq=99)


def _promise_another_message(history: History, stored: dict[str, Stored]) -> None:
    history.promises[3] = history.promises[3]._replace(message="m999")


def _skip(history: History, stored: dict[str, Stored]) -> None:
    history.logs["bob-phone"].holes = 1


@pytest.mark.parametrize(
    ("plant", "names"),
    [
        (_lose_a_delivery, {"lost"}),
        (_lose_the_end, {"lost"}),
        (_lose_a_stored_message, {"lost"}),
        (_deliver_twice, {"duplicated"}),
        (_lose_one_and_deliver_another_twice, {"lost", "duplicated"}),
        (_store_twice, {"duplicated"}),
        (_swap_two, {"reordered"}),
        (_swap_two_pages, {"reordered"}),
        (_invent_a_delivery, {"phantom"}),
        (_store_what_nobody_sent, {"phantom"}),
        (_deliver_from_nowhere, {"phantom"}),
        (_promise_another_place, {"inconsistent"}),
        (_promise_another_message, {"inconsistent"}),
        (_skip, {"gap"}),
    ],
)
def test_a_planted_fault_is_convicted_by_its_name_and_by_no_other(
    plant: Plant, names: set[str]
) -> None:
    history, stored = good()
    plant(history, stored)
    judgement = judge(history, stored)
    assert convicted(judgement) == names
    assert all(judgement.witnesses[name] for name in names)
    assert names <= set(NAMES)


def test_a_run_without_messages_proves_nothing() -> None:
    assert not judge(History(), {}).exercised
