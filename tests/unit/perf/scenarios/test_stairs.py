"""Steps of a search: what counts as held."""

import msgspec
import pytest

from perf.load.generator import LATE_MS
from perf.scenarios.parts.stairs import ENOUGH, LIMIT_MS, Step, why_failed

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
