"""What a run looked like second by second: counts, gauges and latencies, one JSON line a second.

Laws: counting costs an addition and timing an append, because both happen inside the load; what
has to be looked up is asked once a second; the sampler knows its own CPU and writes it too.
The names that a report knows by themselves:

    load.asked load.sent load.acked load.delivered     counted, so per second
    generator.late_ms                                  the worst lateness of that second
    latency.<what>.count .p50 .p99 .max                ms, of `time(what, …)`
    <group>.cpu_percent .busiest_percent (its busiest process) .rss_mb .uss_mb .descriptors
           .sockets .threads .processes               of server, postgres, valkey, generator
"""

from __future__ import annotations

import asyncio
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic_ns, perf_counter, thread_time
from typing import Any, TypeAlias

import msgspec

EVERY_S = 1.0
STEPS_PER_OCTAVE = 4  # of the buckets of a heat map: each 19 % wider than the one before
FIRST_BUCKET_US = 64
BUCKETS_US = tuple(
    round(FIRST_BUCKET_US * 2 ** (step / STEPS_PER_OCTAVE))
    for step in range(20 * STEPS_PER_OCTAVE + 1)  # 64 µs to 67 s
)

Line: TypeAlias = dict[str, Any]
Look: TypeAlias = Callable[[], float | None]
Source: TypeAlias = Callable[[], Awaitable[Mapping[str, float]]]
"""Answers with whatever figures it has, by name."""
Survey: TypeAlias = Callable[[], Mapping[str, float]]
"""The same, but it may block: it is asked in a thread."""


class Series:
    """Writes the series of a run to a file."""

    def __init__(self, path: Path, *, every_s: float = EVERY_S) -> None:
        self.path, self.every_s = path, every_s
        self.cpu_s = 0.0  # what sampling itself has cost so far
        self.failures: dict[str, str] = {}
        self._begun = perf_counter()
        self._gauges: dict[str, Look] = {}
        self._sources: dict[str, Source] = {}
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._worst: dict[str, float] = {}
        self._times: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
        self._marks: list[str] = []

    # What a scenario says

    def count(self, name: str, n: float = 1) -> None:
        """Add to a count; each line has what came within its second."""
        self._counts[name] += n

    def worst(self, name: str, value: float) -> None:
        """Keep the greatest value of the second."""
        if value > self._worst.get(name, float("-inf")):
            self._worst[name] = value

    def time(self, what: str, seconds: float) -> None:
        """Note one latency of `what`."""
        self._times[what].append(seconds)

    def mark(self, text: str) -> None:
        """Write this moment into the plots, such as the beginning of a step."""
        self._marks.append(text)

    def gauge(self, name: str, look: Look) -> None:
        """Ask `look` once a second; None leaves the name out of that line. Failures as of `source`."""
        self._gauges[name] = look

    def source(self, name: str, look: Source) -> None:
        """Ask `look` once a second; one that raises is not asked again, with the reason in `failures`."""
        self._sources[name] = look

    def survey(self, name: str, look: Survey) -> None:
        """Ask `look` once a second in a thread; its CPU time counts as the sampler's."""
        self._sources[name] = partial(self._surveyed, look)

    async def _surveyed(self, look: Survey) -> Mapping[str, float]:
        found, cpu_s = await asyncio.to_thread(_timed, look)
        self.cpu_s += cpu_s
        return found

    # Sampling

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Write a line a second for the time inside, and a last one at its end."""
        import numpy  # noqa: F401, PLC0415 - slow to load: now, not in the middle of the load

        self._begun = perf_counter()
        self.cpu_s = 0.0
        task = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            self._write({})

    @property
    def cpu_percent(self) -> float:
        """What sampling has cost, in % of a core."""
        return 100 * self.cpu_s / max(perf_counter() - self._begun, 1e-9)

    async def _sample(self) -> None:
        """Ask every source, and write a line in time: one that hangs answers on a later one."""
        due, asked = perf_counter(), dict[str, asyncio.Task[Mapping[str, float]]]()
        try:
            while True:
                for name, look in self._sources.items():
                    if name not in asked:
                        asked[name] = asyncio.create_task(self._ask(look))
                if asked:
                    await asyncio.wait(asked.values(), timeout=self.every_s)
                self._write(self._answers(asked))
                due = max(due + self.every_s, perf_counter())
                await asyncio.sleep(due - perf_counter())
        finally:
            for task in asked.values():
                task.cancel()
            await asyncio.gather(*asked.values(), return_exceptions=True)

    async def _ask(self, look: Source) -> Mapping[str, float]:
        answer: Mapping[str, float] = await _Metered(look(), self)
        return answer

    def _answers(self, asked: dict[str, asyncio.Task[Mapping[str, float]]]) -> dict[str, float]:
        """What has been answered; a source that has failed is not asked again."""
        found: dict[str, float] = {}
        for name in [name for name, task in asked.items() if task.done()]:
            try:
                found |= asked.pop(name).result()
            except Exception as error:
                self._failed(name, error)
                self._sources.pop(name, None)
        return found

    def _failed(self, name: str, error: Exception) -> None:
        self.failures[name] = str(error).partition("\n")[0] or type(error).__name__

    def _write(self, found: Mapping[str, float]) -> None:
        began = thread_time()
        line: Line = {"t": monotonic_ns(), **found, **self._taken()}
        for name, look in list(self._gauges.items()):
            try:
                if (value := look()) is not None:
                    line[name] = value
            except Exception as error:
                self._failed(name, error)
                del self._gauges[name]
        line["sampler.cpu_ms"] = round(self.cpu_s * 1000, 3)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        self.cpu_s += thread_time() - began

    def _taken(self) -> Line:
        """What was counted and timed since the last line."""
        line: Line = {**self._counts, **self._worst}
        for name in self._counts:
            self._counts[name] = 0
        self._worst = {}
        for what, seconds in self._times.items():
            if seconds:
                line |= {
                    f"latency.{what}.{name}": value for name, value in _spread(seconds).items()
                }
                self._times[what] = array("d")
        if self._marks:
            line["mark"], self._marks = "; ".join(self._marks), []
        return line


class _Metered(Generator[Any, Any, Any]):
    """Awaits something and adds the CPU time of its steps to the series' own cost."""

    def __init__(self, work: Awaitable[Mapping[str, float]], series: Series) -> None:
        self._steps, self._series = work.__await__(), series

    def __await__(self) -> _Metered:
        return self

    def send(self, value: Any) -> Any:
        """Run the next step."""
        return self._timed(lambda: self._steps.send(value))

    def throw(self, error: Any, value: Any = None, traceback: Any = None, /) -> Any:
        """Let the step end with this error."""
        raised = error if isinstance(error, BaseException) else value or error()
        return self._timed(lambda: self._steps.throw(raised))

    def _timed(self, step: Callable[[], Any]) -> Any:
        began = thread_time()
        try:
            return step()
        finally:
            self._series.cpu_s += thread_time() - began


def _timed(look: Survey) -> tuple[Mapping[str, float], float]:
    began = thread_time()
    return look(), thread_time() - began


def _spread(seconds: array[float]) -> dict[str, Any]:
    """Count, percentiles in ms, and how many fell into each bucket (by its lower bound in µs)."""
    import numpy as np  # noqa: PLC0415

    times = np.sort(np.frombuffer(seconds))
    edges = np.searchsorted(times, np.array(BUCKETS_US[1:]) / 1e6, side="right")
    filled = np.diff(edges, prepend=0, append=len(times))
    return {
        "count": len(times),
        "p50": _ms(times[len(times) // 2]),
        "p99": _ms(times[min(len(times) * 99 // 100, len(times) - 1)]),
        "max": _ms(times[-1]),
        "buckets": {str(BUCKETS_US[i]): int(n) for i, n in enumerate(filled) if n},
    }


def _ms(seconds: float) -> float:
    return round(float(seconds) * 1000, 3)


def load(path: Path) -> list[Line]:
    """The lines of a file in order of time; a last line that was cut off is left out. Empty without a file."""
    lines: list[Line] = []
    if path.exists():
        for raw in path.read_bytes().splitlines():
            try:
                lines.append(msgspec.json.decode(raw, type=dict[str, Any]))
            except msgspec.DecodeError:
                continue
    return sorted(lines, key=lambda line: int(line["t"]))
