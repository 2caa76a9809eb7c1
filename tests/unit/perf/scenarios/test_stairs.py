"""Steps of a search: what counts as held."""

from typing import Any, cast

import msgspec
import pytest

from perf.load.generator import LATE_MS
from perf.scenario import Findings, Options
from perf.scenarios import messages
from perf.scenarios.parts.capacity import Capacity
from perf.scenarios.parts.stairs import ENOUGH, LIMIT_MS, Stairs, Step, why_failed
from perf.targets import outcome

GOOD = Step(
    asked=1_000,
    achieved=999,
    delivered=8_990,
    p50=3.0,
    p99=20.0,
    p99_uncorrected=19.0,
    late_p99=1.0,
    generator_cpu=20.0,
    server_cpu=50.0,
    postgres_cpu=20.0,
    others_cpu=2.0,
    anomalies=0,
)


def test_a_step_in_time_without_anomalies_is_held() -> None:
    assert why_failed(GOOD, share=1.0) == ""


@pytest.mark.parametrize(
    ("change", "share", "why"),
    [
        ({"p99": LIMIT_MS}, 1.0, "p99 not below"),
        ({"p99": None}, 1.0, "nothing was measured"),
        ({"late_p99": LATE_MS}, 1.0, "the generator was"),
        ({"anomalies": 1}, 1.0, "1 anomalies"),
        ({}, ENOUGH - 0.01, "was stored in time"),
    ],
)
def test_a_step_that_breaks_any_condition_is_not_held_and_says_why(
    change: dict[str, float], share: float, why: str
) -> None:
    assert why in why_failed(msgspec.structs.replace(GOOD, **change), share=share)


class Known(Stairs):
    """Stairs of which it is known how each step goes."""

    step = GOOD

    async def climb(self, rate: float) -> Step:
        return self.step


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "valid"),
        ({"p99": LIMIT_MS}, "invalid"),
        ({"anomalies": 1}, "invalid"),
        ({"late_p99": LATE_MS}, "unknown"),
        ({"p99": None}, "unknown"),
    ],
)
async def test_a_rate_that_was_asked_for_and_not_held_is_no_valid_run(
    change: dict[str, float], verdict: str
) -> None:
    step = msgspec.structs.replace(GOOD, **change)
    stairs = Known(stage=cast("Any", None), fleet=cast("Any", None), groups={}, step_s=1.0)
    stairs.step = msgspec.structs.replace(step, failed_by=why_failed(step, share=1.0))
    findings = Findings(outcomes=[outcome("T7", 100.0, source="a test")])
    options = Options(seed=1, rate=1_000.0)
    await messages._climb(stairs, cast("Capacity", None), options, findings)
    assert findings.verdict == verdict, findings.problems
    assert all("1,000 messages a second were not held: " in one for one in findings.problems)
