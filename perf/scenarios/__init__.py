"""The scenarios, one per module, by the name that the command line knows them by."""

from perf.scenario import Scenario
from perf.scenarios import baseline, messages

ALL: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (baseline.SCENARIO, messages.SCENARIO)
}
