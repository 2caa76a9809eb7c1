"""The scenarios, one per module, by the group and the name that the command line knows them by."""

from perf.scenario import Group, Scenario
from perf.scenarios import (
    baseline,
    batching,
    connections,
    messages,
    mutants,
)

ALL: tuple[Scenario, ...] = (
    baseline.SCENARIO,
    connections.SCENARIO,
    messages.SCENARIO,
    mutants.SCENARIO,
    batching.SCENARIO,
)


def of(group: Group) -> dict[str, Scenario]:
    """The scenarios of a group by name, in the order in which `all` runs them."""
    return {scenario.name: scenario for scenario in ALL if scenario.group == group}
