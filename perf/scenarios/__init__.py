"""The scenarios, one per module, by the group and the name that the command line knows them by."""

from perf.scenario import Group, Scenario
from perf.scenarios import (
    baseline,
    batching,
    connection_flood,
    connections,
    messages,
    mutants,
    queues,
)

ALL: tuple[Scenario, ...] = (
    baseline.SCENARIO,
    connections.SCENARIO,
    queues.SCENARIO,
    messages.SCENARIO,
    mutants.SCENARIO,
    batching.SCENARIO,
    connection_flood.SCENARIO,
)


def of(group: Group) -> dict[str, Scenario]:
    """The scenarios of a group by name, in the order in which `all` runs them."""
    return {scenario.name: scenario for scenario in ALL if scenario.group == group}
