"""Crews: who goes to which worker, and from which address."""

from perf.load.crew import PER_SOURCE, shares, source_of
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


def test_local_addresses_change_before_the_ports_of_one_run_out() -> None:
    near = "http://127.0.0.1:8000"
    assert source_of(near, PER_SOURCE - 1) is None
    assert source_of(near, PER_SOURCE) == "127.0.0.2"
    assert source_of(near, 3 * PER_SOURCE) == "127.0.0.4"
    assert source_of("https://chat.example", 3 * PER_SOURCE) is None
