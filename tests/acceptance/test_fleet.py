"""Fleets and crews on a real server: what devices did and saw is in the history, and adds up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from perf.history import events
from perf.history.recorder import Recorder
from perf.history.rundir import RunDirectory
from perf.load.crew import crew
from perf.load.fleet import Fleet, until
from perf.load.flow import Flow
from perf.load.plan import Mix, Phase
from perf.measure.series import Series
from perf.rig.environment import Crowd, Environment, private

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

RUN = {"run": "test-run", "scenario": "test", "seed": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Environment]:
    logs = tmp_path_factory.mktemp("logs")
    async with private(crowd=Crowd(conversations=4, members=5), logs=logs) as it:
        yield it


def history(path: Path) -> list[events.AnyEvent]:
    return msgspec.json.Decoder(events.AnyEvent).decode_lines(path.read_bytes())


def of(found: list[events.AnyEvent], kind: type) -> list[Any]:
    return [event for event in found if isinstance(event, kind)]


async def test_what_devices_do_and_see_is_in_the_history_as_it_happened(
    place: Environment, tmp_path: Path
) -> None:
    path = tmp_path / "0.jsonl"
    with Recorder(path, **RUN) as recorder:
        flow = Flow()
        fleet = Fleet(url=place.url, recorder=recorder, observer=flow, reads=True)
        accounts = [
            one for one in place.accounts if one.conversations == place.accounts[0].conversations
        ]
        await fleet.connect(accounts[:3], starts={}, rate=50, source="127.0.0.2")
        ann, bob, _ = fleet.devices
        conversation = ann.account.conversations[0]
        first, second = ann.send(conversation, "first"), ann.send(conversation, "second")
        ann.flush()
        assert await fleet.quiesce(within_s=10)
        bob.drop()
        ann.edit(first, "first, edited")
        ann.delete(second)
        ann.flush()
        assert await until(lambda: bob.online and bob.sessions == 2, within_s=10)
        assert await fleet.quiesce(within_s=10)
        last = ann.client.cursors[conversation]
        assert await until(lambda: last in _marks(recorder), within_s=10)
        fleet.disconnect()
    found = history(path)
    assert [one.what for one in of(found, events.Sent)] == ["send", "send", "edit", "delete"]
    assert {one.client_id for one in of(found, events.Sent)} == {
        one.client_id for one in of(found, events.Acked)
    }
    assert [one.by for one in of(found, events.Closed) if one.device == bob.number] == ["rig"] * 2
    opened = [one for one in of(found, events.Opened) if one.device == bob.number]
    assert len(opened) == 2
    assert opened[1].hello[conversation] == max(first.seq, second.seq)
    assert {one.cursors[conversation] for one in of(found, events.Cursors)} == {last}
    changes = [change for page in of(found, events.Page) for change in page.changes]
    newest = {change.id: change for change in sorted(changes, key=lambda one: one.seq)}
    assert (newest[first.message].version, newest[second.message].deleted) == (2, True)
    assert flow.stored == {"send": 2, "edit": 1, "delete": 1}
    assert of(found, events.Marked)


def _marks(recorder: Recorder) -> list[int]:
    """The read marks that devices were shown so far."""
    recorder.flush()
    return [one.read for one in of(history(recorder.path), events.MarkSeen)]


@pytest.mark.long
async def test_a_crew_does_in_two_processes_what_a_fleet_does_in_one(
    place: Environment, tmp_path: Path
) -> None:
    directory = RunDirectory.make(tmp_path, scenario="test", seed=1)
    series = Series(directory.series)
    with Recorder(directory.history_of(0), **RUN) as recorder:
        async with crew(
            url=place.url,
            accounts=place.accounts,
            workers=2,
            recorder=recorder,
            directory=directory,
            meter=series,
            seed=1,
        ) as hands:
            await hands.connect(rate=100)
            assert (len(hands.connect_s), hands.failures) == (20, [])
            phases = [Phase(seconds=1.0, rate=100), Phase(seconds=3.0, rate=100)]
            mix = Mix(send=8, edit=1, delete=1)
            load = await hands.work(phases, seed=1, warm_up_s=1.0, mix=mix)
            states = await hands.look()
            await hands.finish()
    assert [state.online for state in states] == [10, 10]
    assert sum(part.unsettled + part.declined for part in load.parts) == 0
    assert load.delivery.count == 4 * load.answer.count > 800
    found = [history(directory.history_of(worker)) for worker in (1, 2)]
    for lines in found:
        assert isinstance(lines[-1], events.RunEnded)
        assert len(of(lines, events.Cursors)) == 10
    devices = {one.device for lines in found for one in of(lines, events.DeviceMade)}
    assert len(devices) == 20
    sends = [one for lines in found for one in of(lines, events.Sent)]
    assert len({one.client_id for one in sends}) == len(sends)
    assert all(one.client_id.startswith("test-run.") for one in sends)


async def test_a_worker_that_dies_is_an_error_in_one_line_and_its_history_stays_readable(
    place: Environment, tmp_path: Path
) -> None:
    directory = RunDirectory.make(tmp_path, scenario="test", seed=1)
    with Recorder(directory.history_of(0), **RUN) as recorder:
        async with crew(
            url=place.url,
            accounts=place.accounts,
            workers=1,
            recorder=recorder,
            directory=directory,
            meter=Series(directory.series),
            seed=1,
        ) as hands:
            await hands.connect()
            working = asyncio.create_task(hands.work([Phase(seconds=60, rate=50)], seed=1))
            await until(lambda: b'"got"' in directory.history_of(1).read_bytes(), within_s=20)
            hands.hands[0].child.kill()
            with pytest.raises(Exception, match="a worker of the load ended"):
                await working
    lines = directory.history_of(1).read_bytes().rpartition(b"\n")[0]
    assert of(msgspec.json.Decoder(events.AnyEvent).decode_lines(lines), events.Delivered)
