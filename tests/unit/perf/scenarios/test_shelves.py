"""What is on the devices is compared with the database, message by message; any difference is told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from messaging.protocol import CloseCode, frames
from perf.history.events import AnyStored, Change, Stay, StoredConversation
from perf.history.recorder import digest
from perf.load.observer import Sent
from perf.scenarios.parts.shelves import Compared, Item, Kept, Shelves, compare

ROOM, ANN = "room", "ann"
FIRST = Change(3, "m1", 3, 1, "d", "c1", digest("one"))
EDITED = Change(6, "m2", 4, 2, "d", "c2", digest("two, better"))
GONE = Change(7, "m3", 5, 2, "d", "c3", 0, True)


def item(change: Change, **other: Any) -> Item:
    it = Item(change.seq, change.position, change.version, change.digest, change.deleted, (), 0.0)
    return it._replace(**other)


WHOLE = {one.id: item(one) for one in (FIRST, EDITED, GONE)}


def found(
    tmp_path: Path, items: dict[str, Item], *, cursor: int = 7, left: int | None = None, **kept: Any
) -> Compared:
    lines: list[AnyStored] = [
        StoredConversation(ROOM, 0, 7, "all", (FIRST, EDITED, GONE)),
        Stay(ROOM, ANN, 2, left),
    ]
    path = tmp_path / "stored.jsonl"
    path.write_bytes(msgspec.json.Encoder().encode_lines(lines))
    device = Kept(number=1, user=ANN, items=items, cursors={ROOM: cursor}, **kept)
    return compare([device], path, starts={})


def test_a_device_with_exactly_what_is_stored_is_equal(tmp_path: Path) -> None:
    compared = found(tmp_path, WHOLE)
    assert (compared.devices, compared.equal, compared.percent) == (1, 1, 100)
    assert compared.outcome().passed


@pytest.mark.parametrize(
    ("items", "said"),
    [
        pytest.param({"m1": WHOLE["m1"], "m3": WHOLE["m3"]}, "is missing", id="one is missing"),
        pytest.param(WHOLE | {"m2": item(EDITED, version=1, seq=4)}, "m2", id="an old state"),
        pytest.param(WHOLE | {"m1": item(FIRST, digest=5)}, "m1", id="another text"),
        pytest.param(WHOLE | {"m3": item(GONE, deleted=False)}, "m3", id="undeleted"),
        pytest.param(WHOLE | {"m1": item(FIRST, position=2)}, "m1", id="another place"),
        pytest.param(WHOLE | {"m9": item(FIRST)}, "not stored", id="one too many"),
    ],
)
def test_a_device_with_anything_else_is_not_equal_and_fails_the_run(
    items: dict[str, Item], said: str, tmp_path: Path
) -> None:
    compared = found(tmp_path, items)
    assert compared.equal == 0
    assert said in compared.differences[0]
    assert compared.outcome().passed is False


def test_a_cursor_that_is_behind_is_a_difference(tmp_path: Path) -> None:
    assert "cursor" in found(tmp_path, WHOLE, cursor=6).differences[0]


def test_who_has_left_needs_nothing_beyond_the_fence(tmp_path: Path) -> None:
    before = {"m1": WHOLE["m1"], "m2": item(EDITED, seq=4, version=1)}
    assert found(tmp_path, before, cursor=4, left=5).equal == 1
    assert found(tmp_path, {}, cursor=4, left=5).equal == 0


def test_a_device_that_was_registered_late_needs_nothing_from_before(tmp_path: Path) -> None:
    later = {"m2": WHOLE["m2"], "m3": WHOLE["m3"]}
    assert found(tmp_path, later, late=True).equal == 1
    assert found(tmp_path, later).equal == 0
    assert found(tmp_path, {"m2": WHOLE["m2"]}, late=True).equal == 0


def test_nothing_compared_is_not_equality(tmp_path: Path) -> None:
    (tmp_path / "stored.jsonl").write_bytes(b"")
    compared = compare([Kept(number=1, user=ANN, items={}, cursors={})], tmp_path / "stored.jsonl", starts={})  # fmt: skip
    assert compared.outcome().passed is None


def device(number: int, *, since: float = 0.0) -> Any:
    return SimpleNamespace(number=number, since=since)


def told(seq: int, *, version: int = 1, body: str = "hello") -> frames.Message:
    return frames.Message(id="m", seq=seq, position=1, version=version, body=body, client_id="c")


def test_the_newest_state_of_a_message_stays_on_the_shelf() -> None:
    shelves, one = Shelves(), device(1)
    shelves.delivered(one, [told(2, version=2, body="better")], 1.0)
    shelves.delivered(one, [told(1)], 2.0)
    assert shelves.items[1]["m"][:4] == (2, 1, 2, digest("better"))


def test_only_deliveries_between_undisturbed_sessions_are_timed() -> None:
    shelves, sender = Shelves(), device(1, since=5.0)
    sent = Sent(conversation=ROOM, client_id="c", intended=10.0, actual=10.0)
    shelves.sent(sender, sent)
    shelves.delivered(sender, [told(1)], 10.5)  # one's own
    shelves.delivered(device(2, since=10.1), [told(1)], 11.0)  # came back meanwhile
    assert shelves.live.count == 0
    shelves.delivered(device(3, since=1.0), [told(1)], 10.2)
    assert shelves.live.summary().max == 200.0


def test_ends_that_a_deploy_or_a_revocation_explains_are_not_strange() -> None:
    shelves = Shelves()
    shelves.closures = [CloseCode.RESTART.value] * 5 + [CloseCode.REVOKED.value]
    assert shelves.strange(revoked=1) == []
    assert len(shelves.strange(revoked=0)) == 1
    shelves.closures.append(1006)
    shelves.declined = 1
    assert len(shelves.strange(revoked=1)) == 2


@pytest.mark.parametrize(
    ("code", "welcomed", "strange"),
    [
        (CloseCode.FULL.value, False, False),
        (1006, False, False),
        (1006, True, True),
        (CloseCode.UNAUTHORIZED.value, False, True),
    ],
)
def test_who_is_turned_away_before_the_welcome_has_lost_no_session(
    code: int, welcomed: bool, strange: bool
) -> None:
    shelves = Shelves()
    device: Any = SimpleNamespace(greeted=2.0, since=3.0 if welcomed else 1.0)
    shelves.closed(device, code)
    assert bool(shelves.strange(revoked=0)) == strange
    assert sum(shelves.turned_away.values()) == (not strange)
