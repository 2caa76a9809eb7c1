"""Crews: who goes to which worker, and from which address."""

import pytest

from perf.load.crew import shares, source_of
from perf.load.fleet import PER_ADDRESS, workers_for
from perf.rig.accounts import Account


def account(number: int, conversation: str) -> Account:
    return Account(user=f"u{number}", device=f"d{number}", token="t", conversations=(conversation,))


def test_every_account_has_one_worker_and_a_conversation_stays_together() -> None:
    accounts = [account(number, f"c{number // 10}") for number in range(95)]
    dealt = shares(accounts, 3)
    assert sorted(one.device for share in dealt for one in share) == sorted(
        one.device for one in accounts
    )
    places = [{one.conversations[0] for one in share} for share in dealt]
    assert places[0].isdisjoint(places[1] | places[2])
    assert places[1].isdisjoint(places[2])
    sizes = [len(share) for share in dealt]
    assert max(sizes) - min(sizes) <= 10


def test_each_worker_has_the_ports_of_a_local_address_of_its_own() -> None:
    near = "http://127.0.0.1:8000"
    assert [source_of(near, worker) for worker in (1, 2)] == ["127.0.0.2", "127.0.0.3"]
    assert source_of("https://chat.example", 3) is None


def test_so_many_workers_are_needed_as_files_and_ports_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perf.load.fleet.file_limit", lambda: 1_500)
    assert [workers_for(devices) for devices in (-5, 0, 1_000, 1_001)] == [0, 0, 1, 2]
    monkeypatch.setattr("perf.load.fleet.file_limit", lambda: 1 << 20)
    assert workers_for(PER_ADDRESS + 1) == 2
