"""The scenarios, one per module, by the group and the name that the command line knows them by."""

from perf.scenario import Group, Scenario
from perf.scenarios import (
    api,
    baseline,
    batching,
    concurrent_operations,
    connection_flood,
    connections,
    database,
    database_flood,
    delivery_confirmations,
    failure_recovery,
    memory_pressure,
    message_flood,
    message_flow,
    messages,
    multi_device,
    mutants,
    presence,
    production,
    queues,
    real_time,
    reconnect_storm,
    soak,
)

ALL: tuple[Scenario, ...] = (
    baseline.SCENARIO,
    connections.SCENARIO,
    queues.SCENARIO,
    database.SCENARIO,
    api.SCENARIO,
    messages.SCENARIO,
    mutants.SCENARIO,
    message_flow.SCENARIO,
    delivery_confirmations.SCENARIO,
    concurrent_operations.SCENARIO,
    real_time.SCENARIO,
    presence.SCENARIO,
    multi_device.SCENARIO,
    failure_recovery.SCENARIO,
    production.SCENARIO,
    batching.SCENARIO,
    connection_flood.SCENARIO,
    reconnect_storm.SCENARIO,
    message_flood.SCENARIO,
    database_flood.SCENARIO,
    memory_pressure.SCENARIO,
    soak.SCENARIO,
)


def of(group: Group) -> dict[str, Scenario]:
    """The scenarios of a group by name, in the order in which `all` runs them."""
    return {scenario.name: scenario for scenario in ALL if scenario.group == group}
