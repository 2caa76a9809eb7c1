"""`perf stress queues`: who goes, who stays, and what everybody has to come back to."""

from perf.rig.accounts import Account
from perf.scenario import Options
from perf.scenarios.parts.shared import apart
from perf.scenarios.queues import AWAY, LIVE, crowd, missed_of, plan


def test_two_members_of_each_conversation_stay_and_the_others_go() -> None:
    accounts = [
        Account(user=f"u{n}", device=f"d{n}", token="t", conversations=(f"c{n // 12}",))
        for n in range(24)
    ]
    staying, leaving = apart(accounts, first=LIVE)
    assert [account.device for account in staying] == ["d0", "d1", "d12", "d13"]
    assert len(leaving) == 2 * AWAY
    assert not {account.device for account in staying} & {account.device for account in leaving}


def test_the_full_form_brings_a_thousand_devices_back_to_a_thousand_messages_each() -> None:
    options = Options(seed=1)
    assert plan(options)["deliveries"] == 1_000_000
    assert crowd(options).accounts == 1_000 + 100 * LIVE
    assert missed_of(options) == 1_000


def test_how_many_come_back_may_be_chosen() -> None:
    assert plan(Options(seed=1, devices=200))["away"] == 200
