"""The recorder: what was recorded is in the file, in order, also when the process is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from messaging.protocol import frames
from perf.history.events import (
    AnyEvent,
    Closed,
    Delivered,
    DeviceMade,
    Page,
    RunBegan,
    RunEnded,
)
from perf.history.recorder import (
    CHUNK,
    FLUSH_S,
    Recorder,
    change,
    details,
    digest,
    envelope,
    origin,
)
from perf.load.fleet import until

read = msgspec.json.Decoder(AnyEvent).decode_lines


def recorder(path: Path) -> Recorder:
    return Recorder(path, run="r", scenario="test", seed=7)


def test_events_are_read_back_as_they_were_recorded_between_a_first_and_a_last_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history" / "0.jsonl"
    with recorder(path) as history:
        number = history.device(id="d1", user="u1")
        events = [Delivered(t=history.now(), device=number, page=page) for page in range(2 * CHUNK)]
        for event in events:
            history.record(event)
    first, device, *found, last = read(path.read_bytes())
    assert isinstance(first, RunBegan)
    assert (first.run, first.seed, first.full) == ("r", 7, True)
    assert isinstance(device, DeviceMade)
    assert found == events
    assert isinstance(last, RunEnded)
    assert last.reason == "done"


def test_a_page_keeps_what_identifies_each_message_and_tombstones_have_no_digest(
    tmp_path: Path,
) -> None:
    path = tmp_path / "0.jsonl"
    said = frames.Message(
        id="m1", seq=4, position=4, body="Grüße", device="d", user="u", client_id="k", created=7
    )
    gone = frames.Message(id="m2", seq=5, position=2, version=2, body="", deleted=1)
    with recorder(path) as history:
        assert history.page("c", 3, 5, [said, gone]) == 1
        assert history.page("c", 5, 5, []) == 2
    page = read(path.read_bytes())[1]
    assert isinstance(page, Page)
    assert (page.conversation, page.since, page.upto) == ("c", 3, 5)
    assert page.changes == (
        (4, "m1", 4, 1, "d", "k", digest("Grüße"), False, 0, origin("u", 7), 0),
        (5, "m2", 2, 2, None, None, 0, True, 0, origin(None, 0), details(0, 1, [])),
    )


PLAIN = frames.Message(id="m1", seq=4, position=4, user="u", created=7)
FILE = frames.Attachment(id="f", name="a.png", size=1, type="image/png", sha256="0")


@pytest.mark.parametrize(
    "other",
    [{"kind": "data"}, {"reply_to": "m0"}, {"attachments": (FILE,)}, {"user": "v"}, {"created": 8}],
    ids=lambda other: next(iter(other)),
)
def test_a_page_tells_what_no_edit_changes_from_anything_else(other: dict[str, object]) -> None:
    assert change(msgspec.structs.replace(PLAIN, **other)) != change(PLAIN)


@pytest.mark.parametrize(
    "other",
    [{"name": "b.png"}, {"size": 2}, {"type": "text/plain"}, {"sha256": "1"}],
    ids=lambda other: next(iter(other)),
)
def test_a_page_tells_a_file_from_another_under_its_id(other: dict[str, object]) -> None:
    with_file = msgspec.structs.replace(PLAIN, attachments=(FILE,))
    bad = msgspec.structs.replace(PLAIN, attachments=(msgspec.structs.replace(FILE, **other),))
    assert change(bad) != change(with_file)


def test_a_page_tells_when_a_message_was_edited_and_deleted() -> None:
    moments = [{"edited": None}, {"edited": 8}, {"edited": 9}, {"deleted": 8}, {"deleted": 9}]
    assert len({change(msgspec.structs.replace(PLAIN, **one)) for one in moments}) == len(moments)


def test_an_answer_without_a_file_is_none_with_one() -> None:
    kinds = [("text", None, []), ("text", "a", []), ("text", None, ["a"]), ("text", "a", ["a"])]
    assert len({envelope(*one) for one in kinds}) == len(kinds)


def test_device_numbers_of_two_workers_never_meet(tmp_path: Path) -> None:
    with (
        Recorder(tmp_path / "0.jsonl", run="r", scenario="test", seed=7) as one,
        Recorder(tmp_path / "1.jsonl", run="r", scenario="test", seed=7, worker=1) as other,
    ):
        numbers = [each.device(id="d", user="u") for each in (one, other, one, other)]
    assert len(set(numbers)) == 4


async def test_an_event_is_in_the_file_soon_although_nothing_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    with recorder(path) as history:
        history.record(Closed(t=history.now(), device=1, code=1000, by="rig"))
        assert await until(lambda: b'"close"' in path.read_bytes(), within_s=20 * FLUSH_S)


def test_an_exception_is_named_in_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    with pytest.raises(KeyboardInterrupt), recorder(path):
        raise KeyboardInterrupt
    assert read(path.read_bytes())[-1].reason == "KeyboardInterrupt"


def test_a_recorder_never_writes_over_an_earlier_history(tmp_path: Path) -> None:
    recorder(tmp_path / "0.jsonl").close()
    with pytest.raises(FileExistsError):
        recorder(tmp_path / "0.jsonl")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_history_that_could_not_be_written_is_an_error_and_no_short_history(
    tmp_path: Path,
) -> None:
    history = recorder(tmp_path / "0.jsonl")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, history._file or 0)
    os.close(full)
    history.record(Closed(t=history.now(), device=1, code=1000, by="rig"))
    with pytest.raises(OSError, match="not whole: No space left"):
        history.close()


MOMENT_S = 0.75  # three times the promise, for a machine that is busy with other tests
KILLED = """
import asyncio, sys, time
from pathlib import Path
from perf.history.events import Delivered
from perf.history.recorder import Recorder

async def main():
    with Recorder(Path(sys.argv[1]), run="r", scenario="test", seed=7) as history:
        page = 0
        while True:
            for _ in range(100):
                page += 1
                history.record(Delivered(history.now(), 1, page))
            await asyncio.sleep(0.001)
            print(page, flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_killed_process_loses_at_most_the_last_moment(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child, child.stdout:
        said: list[tuple[float, int]] = []
        while not said or monotonic() - said[0][0] < 2 * MOMENT_S:
            page = int(child.stdout.readline())
            said.append((monotonic(), page))
        child.send_signal(signal.SIGKILL)
        child.wait()
    killed = said[-1][0]
    recorded = max(page for at, page in said if at < killed - MOMENT_S)
    whole, _, _ = path.read_bytes().rpartition(b"\n")  # it may have died in the middle of a write
    pages = [event.page for event in read(whole) if isinstance(event, Delivered)]
    assert pages == list(range(1, len(pages) + 1))
    assert len(pages) >= recorded
