"""The reader: a run's directory is in memory as it was recorded, also when the rig was killed."""

from pathlib import Path

import msgspec
import pytest

from perf.checkers.planted import story
from perf.history.events import (
    AnyEvent,
    Delivered,
    DeviceMade,
    MarkSeen,
    Page,
    RunBegan,
    RunEnded,
    Sent,
)
from perf.history.reader import Evidence, gather, load
from perf.history.rundir import RunDirectory


def written(tmp_path: Path, seed: int = 3) -> RunDirectory:
    run = RunDirectory(path=tmp_path)
    story(seed).write(run)
    return run


def told(evidence: Evidence) -> dict[int, list[object]]:
    """What each device did and saw, in words."""
    return {
        number: [
            evidence.pages[entry] if entry >= 0 else evidence.events[~entry]
            for entry in log.entries
        ]
        for number, log in evidence.logs.items()
    }


def test_a_run_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    history = story(3)
    expected, found = history.evidence(), load(written(tmp_path))
    assert told(found) == told(expected)
    assert found.pages == expected.pages
    assert found.first_seen == expected.first_seen
    assert found.conversations == expected.conversations
    assert (found.stays, found.marks) == (expected.stays, expected.marks)
    assert found.compared
    assert found.whole
    assert found.deliveries == len(history.all(Delivered))
    assert len(found.sightings) == len(history.all(MarkSeen))


def test_a_path_is_as_good_as_a_run_directory(tmp_path: Path) -> None:
    written(tmp_path)
    assert load(tmp_path).pages == load(RunDirectory(path=tmp_path)).pages


def test_a_last_line_that_was_cut_off_is_left_out_and_counted(tmp_path: Path) -> None:
    run = written(tmp_path)
    path = run.history_of(0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]) + lines[-3][:7])
    evidence = load(run)
    assert evidence.unreadable == 1
    assert evidence.cut == ["0.jsonl"]
    assert not evidence.whole


@pytest.mark.parametrize("cut", [b"", b"[", b'["got",1', b'["got",1,1,"\xc3'])
def test_any_cut_is_survived(tmp_path: Path, cut: bytes) -> None:
    run = written(tmp_path)
    with run.history_of(0).open("ab") as file:
        file.write(cut)
    assert load(run).unreadable == bool(cut)


def test_page_numbers_are_each_file_s_own() -> None:
    files: list[list[AnyEvent]] = [
        [
            RunBegan(1, "r", "s", 0, worker),
            DeviceMade(2, worker + 1, f"d{worker}", "u"),
            Page(3, 1, f"room-{worker}", 0, 1, ()),
            Delivered(4, worker + 1, 1),
            RunEnded(5),
        ]
        for worker in (0, 1)
    ]
    evidence = gather(files, None)
    seen = {number: evidence.pages[log.entries[0]] for number, log in evidence.logs.items()}
    assert {number: page.conversation for number, page in seen.items()} == {
        1: "room-0",
        2: "room-1",
    }
    assert not evidence.compared


def test_a_delivery_of_a_page_that_was_never_written_is_counted() -> None:
    begin: list[AnyEvent] = [RunBegan(1, "r", "s", 0), DeviceMade(2, 1, "d", "u")]
    assert gather([[*begin, Delivered(3, 1, 9), RunEnded(4)]], None).unreadable == 1


def test_a_run_without_final_reads_says_so(tmp_path: Path) -> None:
    run = written(tmp_path)
    run.stored.unlink()
    assert not load(run).compared


def test_a_page_knows_when_it_was_first_seen_by_anybody() -> None:
    begin: list[AnyEvent] = [
        RunBegan(1, "r", "s", 0),
        DeviceMade(2, 1, "a", "u"),
        DeviceMade(2, 2, "b", "u"),
    ]
    page = Page(3, 1, "room", 0, 1, ())
    evidence = gather([[*begin, page, Delivered(9, 1, 1), Delivered(7, 2, 1), RunEnded(9)]], None)
    assert list(evidence.first_seen) == [7]


def test_lines_that_are_cut_by_a_chunk_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = written(tmp_path)
    expected = told(load(run))
    monkeypatch.setattr("perf.history.reader.CHUNK_BYTES", 50)
    assert told(load(run)) == expected


def test_what_is_written_is_what_the_recorder_writes(tmp_path: Path) -> None:
    """One form of a history: an event that is encoded here is decoded there."""
    line = msgspec.json.encode(Sent(1, 2, 3, "key", "room", 4))
    assert line == b'["send",1,2,3,"key","room",4,"send",null,0]'
