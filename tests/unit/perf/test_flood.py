"""What a flood must have been to say anything: one that somebody felt."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from perf.load.calm import Calm
from perf.measure.latency import Latency
from perf.scenarios.parts.flood import Flood, Sufferings


def flood(monkeypatch: pytest.MonkeyPatch, *, during_s: float, refusals: int = 0) -> Flood:
    """One whose calm devices were served within 10 ms before."""
    suffering = Sufferings()
    suffering.refusals = {"overloaded": refusals} if refusals else {}
    nothing = cast("Any", SimpleNamespace())
    it = Flood(
        stage=nothing,
        fleet=nothing,
        calm=Calm(others=1),
        generator=nothing,
        resources=nothing,
        pulse=nothing,
        troubles=[suffering],
    )
    took = Latency()
    took.record(during_s)
    monkeypatch.setattr(Flood, "during", took)
    monkeypatch.setattr(Flood, "bound_s", 0.02)
    return it


@pytest.mark.parametrize(
    ("facts", "felt"),
    [
        ({"during_s": 0.01}, None),
        ({"during_s": 0.5}, True),
        ({"during_s": 0.01, "refusals": 3}, True),
    ],
)
def test_a_flood_that_nobody_felt_leaves_the_verdict_unknown(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], felt: bool | None
) -> None:
    assert flood(monkeypatch, **facts)._felt().met is felt
