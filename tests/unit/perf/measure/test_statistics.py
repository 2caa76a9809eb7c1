"""Planted leaks get their verdict, and what is no leak gets none: also when it is noisy, for hundreds of servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from perf.measure.statistics import CYCLES, LEAKS, SETTLING, Finding, Signal, Work, judge

WORK = Work(connections=200, messages=2_000)
COUNT = SETTLING + CYCLES + 1
STEPS = np.arange(COUNT)
PAGE = 4_096
Shape = Callable[[np.ndarray], np.ndarray]


def flat(steps: np.ndarray) -> np.ndarray:
    return np.zeros(len(steps))


def line(each: float) -> Shape:
    return lambda steps: each * steps


def warming(upto: float) -> Shape:
    return lambda steps: upto * (1 - np.exp(-steps / 4))


def noise(dice: np.random.Generator, scale: float, *, memory: float = 0.5) -> np.ndarray:
    """Neighbouring cycles resemble each other, as they do in real processes."""
    found, last = [], 0.0
    for shock in dice.normal(0, scale, COUNT):
        last = memory * last + shock
        found.append(last)
    return np.array(found)


def server(
    *, blocks: Shape = flat, in_use: Shape = flat, memory: Shape = flat, seed: int = 1
) -> list[Signal]:
    """What a server with 1,000,000 blocks and 100 MB would show."""
    dice = np.random.default_rng(seed)

    def values(level: float, shape: Shape, scale: float) -> Sequence[float]:
        return list(level + shape(STEPS) + noise(dice, scale))

    return [
        Signal(name="blocks", kind="blocks", values=values(1e6, blocks, 60)),
        Signal(name="objects", kind="objects", values=values(3e5, lambda s: blocks(s) / 3, 25)),
        Signal(name="malloc in use", kind="in_use", values=values(3e7, in_use, 8_000)),
        Signal(name="USS", kind="memory", values=values(1e8, memory, 8 * PAGE)),
    ]


def verdict(*, blocks: Shape = flat, in_use: Shape = flat, memory: Shape = flat) -> str:
    return judge(server(blocks=blocks, in_use=in_use, memory=memory), WORK).verdict


def test_a_server_that_keeps_python_objects_of_every_connection_leaks() -> None:
    """Ten blocks of 100 bytes for each connection."""
    assert verdict(blocks=line(2_000), memory=line(200_000)) == "leak:python"


def test_a_leak_too_small_for_the_systems_memory_shows_in_two_of_pythons_own_signals() -> None:
    assert verdict(blocks=line(400)) == "leak:python"


def test_a_library_that_never_frees_leaks_natively() -> None:
    assert verdict(in_use=line(100_000), memory=line(100_000)) == "leak:native"


def test_memory_that_nobody_uses_but_the_allocator_keeps_is_fragmentation() -> None:
    found = judge(server(memory=line(200_000)), WORK)
    assert found.verdict == "fragmentation"
    assert "MALLOC_ARENA_MAX=2" in found.reason


def test_what_fills_and_comes_to_rest_is_a_cache() -> None:
    found = verdict(blocks=warming(60_000), memory=warming(6e6), in_use=warming(2e6))
    assert found == "cache-warming"


def test_noise_alone_is_clean() -> None:
    assert verdict() == "clean"


def test_growth_below_the_floor_is_clean() -> None:
    """A twentieth of a block per connection: less than any kept object."""
    assert verdict(blocks=line(10)) == "clean"


def test_one_signal_alone_convicts_nobody() -> None:
    signals = server()
    grown = Signal(name="malloc in use", kind="in_use", values=list(3e7 + 1e5 * STEPS))
    found = judge([*signals[:2], grown, signals[3]], WORK)
    assert found.verdict == "clean"
    assert "no second signal" in found.reason


def test_too_few_cycles_say_nothing() -> None:
    short = [
        Signal(name=one.name, kind=one.kind, values=one.values[: SETTLING + CYCLES - 1])
        for one in server(blocks=line(2_000), memory=line(200_000))
    ]
    assert judge(short, WORK).verdict == "too-short"
    assert judge([], WORK).verdict == "too-short"


def test_a_step_is_no_slope() -> None:
    """An arena more, once and for all."""
    step: Shape = lambda steps: 4e6 * (steps > COUNT // 2)  # noqa: E731
    assert verdict(memory=step) not in LEAKS


def test_a_slope_reads_as_what_1000_connections_leave_behind() -> None:
    found = judge(server(blocks=line(2_000), memory=line(200_000)), WORK)
    texts = {slope.signal: slope.text(WORK) for slope in found.slopes}
    estimate = float(texts["USS"].split()[0].replace(",", ""))
    assert estimate == pytest.approx(200_000 * 5 / 1024, rel=0.1)
    assert "KiB per 1,000 connections [" in texts["USS"]
    assert "blocks per 1,000 connections [" in texts["blocks"]


def test_the_same_cycles_get_the_same_verdict() -> None:
    assert judge(server(), WORK) == judge(server(), WORK)


@pytest.mark.slow
def test_of_a_hundred_servers_without_a_leak_at_most_one_is_called_leaking() -> None:
    found = [judge(server(seed=seed), WORK) for seed in range(100)]
    assert sum(one.verdict in LEAKS for one in found) <= 1
    assert sum(one.verdict != "clean" for one in found) <= 5, _shares(found)


@pytest.mark.slow
def test_of_a_hundred_servers_that_leak_nearly_all_are_found() -> None:
    each, all_of_it = line(400), line(40_000)
    found = [judge(server(seed=n, blocks=each, memory=all_of_it), WORK) for n in range(100)]
    assert sum(one.verdict == "leak:python" for one in found) >= 95, _shares(found)


def _shares(found: Sequence[Finding]) -> dict[str, int]:
    return {name: sum(one.verdict == name for one in found) for name in {o.verdict for o in found}}
