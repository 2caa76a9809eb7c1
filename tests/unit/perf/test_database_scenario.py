"""`perf stress database`: who does what, and what a message took of commits, batches and WAL."""

from perf.rig.accounts import Account
from perf.scenario import Options
from perf.scenarios.database import MEMBERS, crowd, plan, split
from perf.scenarios.parts.books import Books


def test_the_writers_of_the_held_conversation_are_apart_from_all_others() -> None:
    accounts = [
        Account(user=f"u{n}", device=f"d{n}", token="t", conversations=(f"c{n // MEMBERS}",))
        for n in range(2 * MEMBERS)
    ]
    writing, held, returning, reading = split(accounts)
    assert [account.device for account in held] == ["d0", "d1"]
    assert [account.device for account in writing] == ["d6", "d7"]
    assert [account.device for account in returning] == ["d2", "d3", "d8", "d9"]
    assert len(reading) == 4


def test_costs_are_what_came_in_between_for_each_message() -> None:
    first = {"append": {0.005: 0.0, 0.01: 0.0, float("inf"): 0.0}}
    before = Books(commits=100, wal_bytes=10_000, batches=5, served=first)
    served = {"append": {0.005: 90.0, 0.01: 100.0, float("inf"): 100.0}}
    after = Books(commits=150, wal_bytes=110_000, batches=30, served=served)
    spent = after.since(before, messages=100)
    assert spent["commits_per_message"] == 0.5
    assert spent["batches_per_message"] == 0.25
    assert spent["wal_bytes_per_message"] == 1_000
    assert spent["server_statements_p99"] == 9.5


def test_a_server_that_says_nothing_leaves_its_figures_unknown() -> None:
    nothing = Books(commits=0, wal_bytes=0, batches=None, served={})
    spent = nothing.since(nothing, messages=0)
    assert spent["batches_per_message"] is None
    assert spent["server_statements_p99"] is None


def test_the_plan_names_its_phases_and_its_cost() -> None:
    found = plan(Options(seed=1))
    assert len(found["phases"]) == 3
    assert found["seconds"] < 120
    assert crowd(Options(seed=1, quick=True)).conversations >= 2
