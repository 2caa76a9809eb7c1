"""Judging costs time in proportion to the history: a million deliveries are a matter of seconds.

`python -m tests.unit.perf.checkers.test_scale` prints the figures for a million deliveries.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import NamedTuple

import msgspec
import psutil
import pytest

from perf.checkers import Judgement, judge
from perf.history.events import (
    Acked,
    AnyEvent,
    AnyStored,
    Change,
    Cursors,
    Delivered,
    DeviceMade,
    Marked,
    MarkSeen,
    Opened,
    Page,
    RunBegan,
    RunEnded,
    Sent,
    Stay,
    StoredConversation,
    StoredMark,
)
from perf.history.reader import Evidence, load
from perf.history.rundir import RunDirectory

MEMBERS = 10  # devices of a conversation: a tenth of the deliveries are distinct frames
ROOMS = 20
ACK_EVERY = 20  # frames
SIZES = {"one": 30_000, "four": 120_000}
ROUNDS = (
    3  # always as many: what else the machine does only ever adds, so the least time is the judge's
)
MOST_RATIO = 7.0  # of the time for four times as much; 4 would be linear, 16 quadratic


class Cost(NamedTuple):
    """What one run of the judge took: seconds of the processor, and megabytes of memory."""

    seconds: float
    megabytes: float


def busy(deliveries: int) -> Iterator[AnyEvent]:
    """A run of so many deliveries, as a recorder writes it."""
    yield RunBegan(1, "run", "scale", 0)
    cursors = {room: f"0198f3a0-0000-7000-8000-00000000c{room:03}" for room in range(ROOMS)}
    for device in range(1, ROOMS * MEMBERS + 1):
        yield DeviceMade(2, device, name_of(device), f"user-{device}")
        conversation = cursors[(device - 1) // MEMBERS]
        yield Opened(3, device, f"session-{device}", {conversation: 0}, {})
    for frame in range(deliveries // MEMBERS):
        room = frame % ROOMS
        yield from _message(frame, room, cursors[room])
    seqs = deliveries // MEMBERS // ROOMS
    for device in range(1, ROOMS * MEMBERS + 1):
        t = deliveries * 1_000 + 5_000_000_000
        yield Cursors(t, device, {cursors[(device - 1) // MEMBERS]: seqs}, connected=True)
    yield RunEnded(deliveries * 2_000)


def name_of(device: int) -> str:
    return f"0198f3a0-0000-7000-8000-{device:012}"


def _message(frame: int, room: int, conversation: str) -> Iterator[AnyEvent]:
    """One message: sent, promised, delivered to everyone, now and then acknowledged."""
    seq, t = frame // ROOMS + 1, 1_000 + frame * 10_000
    first = room * MEMBERS + 1
    sender = first + seq % MEMBERS
    change = row_of(seq, room)
    key = change.client_id or ""
    yield Sent(t, sender, t, key, conversation, change.digest)
    yield Acked(t + 1_000, sender, key, change.id, seq, seq, 1)
    yield Page(t + 1_000, frame, conversation, seq - 1, seq, (change,))
    for device in range(first, first + MEMBERS):
        yield Delivered(t + 2_000, device, frame)
    if seq % ACK_EVERY == 0:
        for device in range(first, first + MEMBERS):
            yield Marked(t + 3_000, device, conversation, seq, seq)
            for observer in range(first, first + MEMBERS):
                yield MarkSeen(t + 4_000, observer, conversation, name_of(device), seq, seq)


def row_of(seq: int, room: int) -> Change:
    sender = room * MEMBERS + 1 + seq % MEMBERS
    message = f"0198f3a0-0000-7000-{room:04}-{seq:012}"
    return Change(seq, message, seq, 1, name_of(sender), f"run.{sender}.{room}.{seq}", seq)


def stored(deliveries: int) -> Iterator[AnyStored]:
    """What the database has after it."""
    seqs = deliveries // MEMBERS // ROOMS
    for room in range(ROOMS):
        name = f"0198f3a0-0000-7000-8000-00000000c{room:03}"
        rows = tuple(row_of(seq, room) for seq in range(1, seqs + 1))
        yield StoredConversation(name, 0, seqs, "all", rows)
        for device in range(room * MEMBERS + 1, (room + 1) * MEMBERS + 1):
            yield Stay(name, f"user-{device}", 0, None)
            mark = seqs - seqs % ACK_EVERY
            yield StoredMark(name, name_of(device), mark, mark)


def write(run: RunDirectory, deliveries: int) -> None:
    run.history.mkdir()
    encode = msgspec.json.Encoder().encode
    with run.history_of(0).open("wb") as file:
        file.writelines(encode(event) + b"\n" for event in busy(deliveries))
    with run.stored.open("wb") as file:
        file.writelines(encode(line) + b"\n" for line in stored(deliveries))


def cost(run: Path, judge: str = "judge") -> Cost:
    """Load and judge a run in a process of its own, so that its memory can be told."""
    command = [sys.executable, "-m", "tests.unit.perf.checkers.test_scale", str(run), judge]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Cost(*map(float, done.stdout.split()[-2:]))


def looks_back(evidence: Evidence) -> Judgement:
    """A judge that looks at everything once more for every twenty-fifth delivery."""
    everything = list(range(evidence.deliveries))
    assert not any(-1 in everything for _ in range(evidence.deliveries // 25))
    return judge(evidence)


JUDGES = {"judge": judge, "looks_back": looks_back}


def measure(path: Path, judge: Callable[[Evidence], Judgement] = judge) -> None:
    """Load and judge; print the processor's seconds, and the megabytes that the process has then."""
    begun = process_time()
    evidence = load(path)
    loaded = process_time()
    judgement = judge(evidence)
    ended = process_time()
    assert not judgement.anomalies, judgement.witnesses
    assert judgement.ledger.balanced
    print(
        f"{judgement.deliveries} deliveries, {evidence.deliveries} frames, {len(evidence.sightings)} marks"
    )
    print(f"loaded in {loaded - begun:.2f} s, judged in {ended - loaded:.2f} s")
    print(ended - begun, psutil.Process().memory_info().rss / 2**20)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each size, by name."""
    place = tmp_path_factory.mktemp("scale")
    for name, deliveries in SIZES.items():
        (place / name).mkdir()
        write(RunDirectory(path=place / name), deliveries)
    return place


def ratio(runs: Path, *, rounds: int, judge: str = "judge") -> float:
    """How many times as long the larger run takes; the least time of each counts."""
    found = [{name: cost(runs / name, judge) for name in SIZES} for _ in range(rounds)]
    one, four = (min(costs[name] for costs in found) for name in SIZES)
    print(
        f"{one.seconds:.2f} s, {one.megabytes:.0f} MB; {four.seconds:.2f} s, {four.megabytes:.0f} MB"
    )
    return four.seconds / one.seconds


@pytest.mark.long
def test_four_times_the_deliveries_take_about_four_times_the_time(runs: Path) -> None:
    assert ratio(runs, rounds=ROUNDS) < MOST_RATIO


@pytest.mark.long
def test_a_judge_that_looks_back_at_everything_is_convicted(runs: Path) -> None:
    assert ratio(runs, rounds=1, judge="looks_back") > MOST_RATIO


def test_twice_the_deliveries_take_no_more_than_twice_the_calls(tmp_path: Path) -> None:
    """The same without a clock: function calls can be counted exactly."""
    counts = []
    for name, deliveries in (("one", 4_000), ("two", 8_000)):
        (tmp_path / name).mkdir()
        write(RunDirectory(path=tmp_path / name), deliveries)
        counts.append(calls(tmp_path / name))
    assert counts[1] / counts[0] < 2.1


def calls(path: Path) -> int:
    count = 0

    def tally(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(tally)
    try:
        judge(load(path))
    finally:
        sys.setprofile(None)
    return count


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]), JUDGES[sys.argv[2]])
    else:
        with tempfile.TemporaryDirectory() as directory:
            write(RunDirectory(path=Path(directory)), 1_000_000)
            measure(Path(directory))
