"""Link codes: one device each, for two minutes, and from devices that may speak for their user."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, connections
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from presence import attempts, database, links
from presence.attempts import TooMany
from presence.models import Device, LinkCode, User
from presence.tokens import DeviceRevoked, register, token_hash
from tests import minute, scene

ADDRESS = "192.0.2.1"
Linked = tuple[Device, str] | None


@pytest.fixture(autouse=True)
def counters_of_its_own(settings: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong codes of earlier tests don't count; nothing of the server's is flushed."""
    minute.hold(monkeypatch)
    monkeypatch.setattr(database, "LOCK_TIMEOUT_MS", 20_000)  # a busy machine is slower
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": str(uuid4())}}


@pytest.fixture
def ann(transactional_db: None) -> User:
    return User.objects.create_user(username="ann")


@pytest.fixture
def phone(ann: User) -> Device:
    return register(user=ann, installation="phone", name="phone")[0]


def redeem(code: str, *, installation: str = "laptop", address: str = ADDRESS) -> Linked:
    return links.redeem(code=code, address=address, installation=installation, name=installation)


# What a code opens


def test_a_code_registers_a_device_of_the_same_user_whose_token_works(
    ann: User, phone: Device
) -> None:
    linked = redeem(links.issue(phone).code)
    assert linked is not None
    device, token = linked
    assert (device.user_id, device.name, device.pk != phone.pk) == (ann.pk, "laptop", True)
    assert Device.objects.get(token_hash=token_hash(token)) == device


def test_the_row_tells_who_vouched_for_whom(phone: Device) -> None:
    linked = redeem(links.issue(phone).code)
    assert linked is not None
    row = LinkCode.objects.get()
    assert (row.issuer, row.redeemed_by) == (phone, linked[0])
    assert row.used is not None
    assert row.created <= row.used < row.expires


def test_a_code_is_shown_in_two_groups_of_four_without_letters_that_look_alike(
    phone: Device,
) -> None:
    code = links.issue(phone).code
    assert (len(code), code[4]) == (9, "-")
    assert not set(code.replace("-", "")) - set(links.ALPHABET)
    assert len(links.ALPHABET) ** links.LENGTH == 2**40
    assert not set("ILOU") & set(links.ALPHABET)


@pytest.mark.parametrize(
    "typed",
    [
        str.lower,
        lambda code: code.replace("-", ""),
        lambda code: f" {code.replace('-', ' ')} ",
        lambda code: code.replace("0", "O").replace("1", "l"),
        lambda code: code.replace("0", "o").replace("1", "I"),
    ],
)
def test_a_code_may_be_typed_as_people_do(
    phone: Device, typed: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = iter("0A1B01ZZ")
    monkeypatch.setattr(links.secrets, "choice", lambda _: next(letters))
    code = links.issue(phone).code
    assert code == "0A1B-01ZZ"
    assert redeem(typed(code)) is not None


def test_a_code_is_neither_stored_nor_shown_again(phone: Device) -> None:
    issued = links.issue(phone)
    row = LinkCode.objects.get()
    plain = issued.code.replace("-", "")
    assert len(bytes(row.code_hash)) == 32
    assert bytes(row.code_hash) not in {
        hashlib.sha256(said.encode()).digest() for said in (issued.code, plain)
    }  # 40 bits: whoever reads the table could guess them
    for said in (repr(issued), repr(row), str(vars(row))):
        assert issued.code not in said
        assert plain not in said


def test_the_installation_of_a_known_device_gets_the_same_device_with_a_fresh_token(
    ann: User, phone: Device
) -> None:
    laptop, old = register(user=ann, installation="laptop")
    linked = redeem(links.issue(phone).code)
    assert linked is not None
    assert linked[0] == laptop
    assert not Device.objects.filter(token_hash=token_hash(old)).exists()


def test_a_revoked_installation_is_told_so_and_the_code_stays_good_for_another(
    ann: User, phone: Device
) -> None:
    laptop, _ = register(user=ann, installation="laptop")
    Device.objects.filter(pk=laptop.pk).update(revoked=Now())
    code = links.issue(phone).code
    with pytest.raises(DeviceRevoked):
        redeem(code)
    assert redeem(code, installation="laptop, again") is not None


# What opens nothing


def spent(phone: Device) -> str:
    code = links.issue(phone).code
    assert redeem(code, installation="first") is not None
    return code


def expired(phone: Device) -> str:
    code = links.issue(phone).code
    LinkCode.objects.update(expires=Now())
    return code


def of_a_revoked_device(phone: Device) -> str:
    code = links.issue(phone).code
    Device.objects.filter(pk=phone.pk).update(revoked=Now())
    return code


def of_an_inactive_user(phone: Device) -> str:
    code = links.issue(phone).code
    User.objects.filter(pk=phone.user_id).update(is_active=False)
    return code


def unknown(phone: Device) -> str:
    code = links.issue(phone).code
    return code[:-1] + ("0" if code[-1] != "0" else "1")


WRONG = [unknown, spent, expired, of_a_revoked_device, of_an_inactive_user]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_code_that_opens_nothing_registers_nothing(
    phone: Device, wrong: Callable[[Device], str]
) -> None:
    code = wrong(phone)
    before = Device.objects.count()
    assert redeem(code) is None
    assert Device.objects.count() == before


def test_whatever_is_wrong_with_a_code_the_same_statements_find_out(phone: Device) -> None:
    """So neither the answer nor its time tells which codes there are."""
    seen = set()
    for wrong in WRONG:
        code = wrong(phone)
        with CaptureQueriesContext(connection) as captured:
            assert redeem(code) is None
        hashed = links.code_hash(code).hex()
        seen.add(tuple(query["sql"].replace(hashed, "…") for query in captured))
    [statements] = seen
    assert len(statements) <= 4  # it, the transaction around it, and how long that waits


def test_a_code_lasts_two_minutes_of_the_database_whatever_our_clock_says(
    phone: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    monkeypatch.setattr("django.utils.timezone.now", lambda: 1 / 0)
    with connection.cursor() as cursor:
        first = links.issue(phone)
        cursor.execute("SELECT now()")
        [now] = cursor.fetchone()
        assert timedelta(seconds=115) < first.expires - now <= timedelta(seconds=120)
        cursor.execute("UPDATE presence_linkcode SET expires = now() + interval '20 s'")
        assert redeem(first.code) is not None
        second = links.issue(phone)
        cursor.execute("UPDATE presence_linkcode SET expires = now()")
        assert redeem(second.code) is None


# At the same moment


def test_eight_who_come_at_once_with_one_code_are_one_device(phone: Device) -> None:
    code = links.issue(phone).code
    connection.close()  # the pool has eight
    with ThreadPoolExecutor(8) as pool, scene.connect() as holder:
        holder.execute("BEGIN; SELECT FROM presence_linkcode FOR UPDATE")
        asked = [pool.submit(_alone, code, f"i{n}", f"192.0.2.{n}") for n in range(8)]
        _await_locks(8)
        holder.execute("COMMIT")
        linked = [one.result() for one in asked]
    assert sum(one is not None for one in linked) == 1
    assert Device.objects.count() == 2


def test_a_revocation_under_way_is_waited_for_and_the_code_is_void(phone: Device) -> None:
    """Whoever revokes a stolen phone finds nothing that it linked afterwards."""
    code = links.issue(phone).code
    with ThreadPoolExecutor(1) as pool, scene.connect() as revoker:
        revoker.execute("BEGIN")
        scene.revoke(revoker, str(phone.pk))
        asked = pool.submit(_alone, code, "laptop", ADDRESS)
        _await_locks(1)
        revoker.execute("COMMIT")
        assert asked.result() is None
    assert Device.objects.count() == 1


def _alone(code: str, installation: str, address: str) -> Linked:
    try:
        return redeem(code, installation=installation, address=address)
    finally:
        connections.close_all()


def _await_locks(count: int) -> None:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE '%presence_linkcode%'"
    )
    deadline = monotonic() + scene.PATIENCE_S
    with scene.connect() as watcher:
        while (found := watcher.execute(waiting).fetchone()) != (count,):
            assert monotonic() < deadline, f"{found} of {count} wait"
            sleep(scene.LOOK_S)  # readiness only: what is asserted comes after


# Limits


def test_a_user_has_five_codes_at_a_time_whichever_device_asks(ann: User, phone: Device) -> None:
    laptop, _ = register(user=ann, installation="laptop")
    codes = [links.issue(device).code for device in (phone, laptop, phone, laptop, phone)]
    with pytest.raises(
        TooMany, match=r"^Too many unused link codes; try again in \d+ s\.$"
    ) as full:
        links.issue(laptop)
    assert 110_000 < full.value.retry_after <= 120_000
    assert redeem(codes[0], installation="new") is not None
    assert links.issue(laptop)
    with pytest.raises(TooMany):
        links.issue(laptop)
    LinkCode.objects.filter(used=None).update(expires=Now())
    assert links.issue(laptop)


def test_codes_of_others_do_not_count(phone: Device) -> None:
    for _ in range(links.LIVE):
        links.issue(phone)
    bob = User.objects.create_user(username="bob")
    assert links.issue(register(user=bob, installation="phone")[0])


def test_two_who_ask_for_the_fifth_code_at_once_get_one(phone: Device) -> None:
    for _ in range(links.LIVE - 1):
        links.issue(phone)

    def attempt(_: int) -> bool:
        try:
            return bool(links.issue(phone))
        except TooMany:
            return False
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1


def test_codes_that_ran_out_are_cleared_away_and_used_ones_kept(phone: Device) -> None:
    spent(phone)
    expired(phone)
    links.issue(phone)
    assert LinkCode.objects.count() == 2


def test_after_ten_wrong_codes_from_an_address_not_even_the_right_one_is_looked_at(
    phone: Device,
) -> None:
    code = links.issue(phone).code
    for n in range(attempts.FAILURES):
        assert redeem(f"wrong {n}") is None
    with pytest.raises(TooMany, match=r"^Too many wrong link codes; try again in \d+ s\.$"):
        redeem(code)
    assert redeem(code, address="192.0.2.2") is not None


@pytest.mark.parametrize(
    "wrong", [spent, expired, of_a_revoked_device], ids=lambda wrong: str(wrong.__name__)
)
def test_a_code_that_was_right_once_counts_as_a_wrong_one(
    phone: Device, wrong: Callable[[Device], str]
) -> None:
    code = wrong(phone)
    for _ in range(attempts.FAILURES):
        assert redeem(code) is None
    with pytest.raises(TooMany):
        redeem(code)


def test_right_codes_do_not_count(phone: Device) -> None:
    for n in range(attempts.FAILURES + 1):
        assert redeem(links.issue(phone).code, installation=f"i{n}") is not None


def test_wrong_codes_and_wrong_passwords_are_counted_apart(phone: Device) -> None:
    from presence import logins

    for n in range(attempts.FAILURES):
        assert logins.log_in(username="ann", password=f"wrong {n}", address=ADDRESS) is None
    assert redeem(links.issue(phone).code) is not None


def test_without_the_cache_codes_work_and_the_process_counts_for_itself(
    phone: Device, settings: Any
) -> None:
    redis = "django.core.cache.backends.redis.RedisCache"
    settings.CACHES = {"default": {"BACKEND": redis, "LOCATION": "redis://127.0.0.1:1"}}
    address = "192.0.2.99"  # what a process counted for itself is kept from test to test
    assert redeem(links.issue(phone).code, address=address) is not None
    for n in range(attempts.FAILURES):
        assert redeem(f"wrong {n}", address=address) is None
    with pytest.raises(TooMany):
        redeem(links.issue(phone).code, address=address)


def test_a_device_that_vouched_can_be_revoked_while_its_codes_are_redeemed(phone: Device) -> None:
    """No lock of a redemption stays behind."""
    spent(phone)
    with scene.connect() as revoker:
        revoker.execute("SET lock_timeout = 100")
        scene.revoke(revoker, str(phone.pk))
