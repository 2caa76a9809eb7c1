"""Work: bodies are what was asked for, and an open loop keeps its moments and says when it could not."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from perf.history.testimony import clock
from perf.load.alongside import alongside
from perf.load.device import Device
from perf.load.fleet import until
from perf.load.generator import LATE_MS, Generator
from perf.load.observer import Sent
from perf.load.plan import Mix, Phase, make
from perf.load.workload import TICK_S, OpenLoop, body
from perf.measure.series import Series


class Recording:
    """As much of a device as a workload asks of it; what is sent is stored at once, if `stores`."""

    def __init__(self, *, stores: bool = True) -> None:
        self.account = SimpleNamespace(conversations=("c",))
        self.done: list[tuple[str, float, float]] = []
        self._stores = stores

    def send(self, conversation: str, text: str, *, intended: float, reply_to: str | None) -> Sent:
        self.done.append(("send" if reply_to is None else "reply", intended, clock()))
        return Sent(
            conversation=conversation,
            client_id=text,
            intended=intended,
            actual=clock(),
            message="m" if self._stores else None,
        )

    def edit(self, sent: Sent, text: str, *, intended: float) -> None:
        assert sent.message is not None
        self.done.append(("edit", intended, clock()))

    def delete(self, sent: Sent, *, intended: float) -> None:
        self.done.append(("delete", intended, clock()))

    def read(self, conversation: str) -> None:
        self.done.append(("read", 0.0, clock()))

    def drop(self) -> None:
        self.done.append(("resume", 0.0, clock()))

    def flush(self) -> None:
        """Nothing is buffered."""


def work(path: Path, device: Recording, **plan: Any) -> tuple[OpenLoop, Generator]:
    made = make(seed=1, devices=1, **plan)
    generator = Generator()
    loop = OpenLoop([cast("Device", device)], made, generator, Series(path / "series.jsonl"))
    return loop, generator


@pytest.mark.parametrize("length", [0, 1, 20, 200, 5_000])
def test_a_body_has_the_length_asked_for_and_differs_from_every_other(length: int) -> None:
    assert len(body(length)) == length
    if length >= 20:
        assert len({body(length, number) for number in range(1_000)}) == 1_000


async def test_every_request_is_made_at_its_moment_and_counted_from_it(tmp_path: Path) -> None:
    device = Recording()
    loop, generator = work(tmp_path, device, phases=[Phase(seconds=0.5, rate=200)])
    begun = clock()
    await loop.run(begun)
    moments = [begun + at for at in loop.plan.at]
    assert len(device.done) == len(moments)
    for (_, intended, actual), moment in zip(device.done, moments, strict=True):
        assert moment - TICK_S <= intended <= moment + 1e-6
        assert intended <= actual
    assert generator.lateness.count == len(moments)


async def test_a_stall_does_not_move_the_plan_but_shows_as_lateness(tmp_path: Path) -> None:
    device = Recording()
    loop, generator = work(tmp_path, device, phases=[Phase(seconds=0.4, rate=200)])
    begun = clock()
    async with generator.watched():
        running = asyncio.create_task(loop.run(begun))
        await until(lambda: len(device.done) > 10, within_s=5)
        stalled = clock()
        while clock() < stalled + 0.1:
            """Nothing else of this process runs meanwhile."""
        await running
    intended = [begun + at for at in loop.plan.at]
    assert [one[1] for one in device.done] == pytest.approx(intended, abs=TICK_S)
    assert (generator.lateness.summary().max or 0) > 80
    assert generator.trouble is not None
    assert "ms late (p99)" in generator.trouble


async def test_edits_wait_for_nothing_and_are_skipped_if_their_message_is_not_stored(
    tmp_path: Path,
) -> None:
    plan = {
        "phases": [Phase(seconds=1.2, rate=300, to=300)],
        "mix": Mix(send=5, edit=2, delete=1, read=1, resume=1, reply=1),
    }
    fast, slow = Recording(), Recording(stores=False)
    loop, _ = work(tmp_path, fast, **plan)
    await loop.run(clock() - 2)
    assert loop.skipped == 0
    made = {what: sum(one[0] == what for one in fast.done) for what in loop.plan.counts}
    assert made == loop.plan.counts
    loop, _ = work(tmp_path, slow, **plan)
    await loop.run(clock() - 2)
    assert loop.skipped == loop.plan.counts["edit"] + loop.plan.counts["delete"] > 0


async def test_a_generator_that_is_in_time_has_no_trouble_to_report() -> None:
    generator = Generator()
    async with generator.watched():
        generator.sent(LATE_MS / 2 / 1000)
    generator.cpu_percent = 50.0
    assert generator.trouble is None
    assert generator.figures()["late_p99_ms"] == pytest.approx(LATE_MS / 2, rel=0.01)


async def test_a_generator_that_has_no_reserve_says_so() -> None:
    generator = Generator()
    async with generator.watched():
        generator.sent(0.0)
    generator.cpu_percent = 99.0
    assert generator.trouble == "the generator was the bottleneck: it took 99 % of a core"


async def test_a_loop_that_is_behind_lets_others_read(tmp_path: Path) -> None:
    class Slow(Recording):
        def flush(self) -> None:
            end = clock() + 0.001  # twice as long as there is time
            while clock() < end:
                pass

    loop, generator = work(tmp_path, Slow(), phases=[Phase(seconds=0.2, rate=2_000)])
    turns = 0

    async def read() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with generator.watched(), alongside(read()):
        await loop.run(clock())
    assert turns > 20
