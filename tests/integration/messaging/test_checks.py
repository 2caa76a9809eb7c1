"""The system checks speak before the guarantees are missed."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.checks.registry import registry
from django.db import ConnectionHandler, connections
from django.test import override_settings

from messaging import checks

SOUND = {
    "server_version_num": "150018",
    "server_version": "15.18",
    "fsync": "on",
    "full_page_writes": "on",
}


def test_a_sound_server_passes() -> None:
    assert checks.judge_server("default", SOUND) == []


@pytest.mark.parametrize(
    ("difference", "code", "mend"),
    [
        ({"server_version_num": "140009", "server_version": "14.9"}, "messaging.E003", "Upgrade"),
        ({"fsync": "off"}, "messaging.W001", "ALTER SYSTEM SET fsync = on"),
        ({"full_page_writes": "off"}, "messaging.W001", "full_page_writes = on"),
    ],
)
def test_an_unsound_server_is_named_with_the_mend(
    difference: dict[str, str], code: str, mend: str
) -> None:
    (message,) = checks.judge_server("default", SOUND | difference)
    assert message.id == code
    assert mend in (message.hint or "")


def test_the_server_in_use_is_asked(transactional_db: None) -> None:
    assert [
        m.id for m in checks.check_database(databases=["default"]) if m.id != "messaging.W001"
    ] == []


def test_another_database_than_postgresql_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "connections", {"default": SimpleNamespace(vendor="sqlite")})
    (message,) = checks.check_database(databases=["default"])
    assert message.id == "messaging.E002"


def test_what_else_a_site_has_for_databases_is_its_own_affair() -> None:
    """`migrate --database legacy` was refused, for what is no PostgreSQL can't keep messages."""
    legacy = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    own = ConnectionHandler({"default": connections["default"].settings_dict, "legacy": legacy})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "connections", own)
        assert checks.check_database(databases=["legacy"]) == []
        assert checks.check_database(databases=None) == []


class Replicas:
    """A router that reads elsewhere, as on Django's page of several databases."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"


def test_a_router_that_takes_our_tables_elsewhere_is_refused() -> None:
    """What lags behind lets in who was just revoked."""
    assert checks.check_routers() == []
    with override_settings(DATABASE_ROUTERS=[Replicas()]):
        (message,) = checks.check_routers()
    assert (message.id, "replica" in message.msg) == ("messaging.E005", True)
    assert "presence and messaging" in (message.hint or "")


def test_our_own_user_model_is_the_one_that_the_journal_reads() -> None:
    assert checks.check_user_model() == []


def test_another_user_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table is not the one that triggers and journal read: every write would be refused."""
    stand_in: Any = SimpleNamespace(_meta=SimpleNamespace(db_table="site_user", label="site.User"))
    monkeypatch.setattr(checks, "get_user_model", lambda: stand_in)
    (message,) = checks.check_user_model()
    assert message.id == "messaging.E001"
    assert "site.User" in message.msg


def test_a_site_without_a_storage_of_files_is_told_what_to_add() -> None:
    assert checks.check_storage() == []
    rest = {name: it for name, it in settings.STORAGES.items() if name != "files"}
    with override_settings(STORAGES=rest):
        (message,) = checks.check_storage()
    assert message.id == "messaging.E004"
    assert '"files": {' in (message.hint or "")


def test_a_site_without_time_zones_is_refused() -> None:
    """REST answered with an error of the server, after it had done what was asked."""
    assert checks.check_times() == []
    with override_settings(USE_TZ=False):
        (message,) = checks.check_times()
    assert (message.id, "USE_TZ = True" in (message.hint or "")) == ("messaging.E006", True)


def test_the_checks_are_registered() -> None:
    ours = {checks.check_user_model, checks.check_storage, checks.check_database}
    assert ours <= registry.registered_checks
