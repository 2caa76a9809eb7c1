"""Django system checks: what the guarantees need of the database, said before it is missed.

The checks that open a connection run in `migrate` and in `check --database default`.
"""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.checks import CheckMessage
from django.core.files.storage import storages
from django.db import DEFAULT_DB_ALIAS, connections, router

from presence.checks import OURS
from presence.models import User

# 15: the oldest version the service tests run on.
OLDEST_POSTGRESQL = 15

# Settings without which a committed message may be lost, or seen before it is safe.
DURABLE = {"fsync": "on", "full_page_writes": "on"}


def register() -> None:
    """Register all checks of this module."""
    checks.register(check_user_model, checks.Tags.models, OURS)
    checks.register(check_storage, checks.Tags.files, OURS)
    checks.register(check_routers, OURS)
    checks.register(check_times, OURS)
    checks.register(check_database, checks.Tags.database)


def check_user_model(**_: Any) -> list[CheckMessage]:
    """Users are `presence.User`, or a proxy of it: triggers, the journal and the API read its table."""
    model = get_user_model()
    if model._meta.db_table == User._meta.db_table:
        return []
    return [
        checks.Error(
            f"AUTH_USER_MODEL is {model._meta.label}: what its users write would be refused.",
            hint='Set AUTH_USER_MODEL = "presence.User", and keep what else you know of people '
            "in a model that refers to it.",
            id="messaging.E001",
        )
    ]


def check_storage(**_: Any) -> list[CheckMessage]:
    """The storage of files has a place in the settings."""
    if "files" in storages.backends:
        return []
    return [
        checks.Error(
            "STORAGES has no storage named files.",
            hint='Add "files": {"BACKEND": "django.core.files.storage.FileSystemStorage", '
            '"OPTIONS": {"location": …}}; docs/files.md says more.',
            id="messaging.E004",
        )
    ]


def check_routers(**_: Any) -> list[CheckMessage]:
    """Our tables are read and written in the default database: triggers, journal and fences ask no other."""
    models = [one for one in apps.get_models() if one._meta.app_label in ("presence", "messaging")]
    asked = [(one, way(one)) for one in models for way in (router.db_for_read, router.db_for_write)]
    astray = [(one._meta.label, alias) for one, alias in asked if alias != DEFAULT_DB_ALIAS]
    if not astray:
        return []
    label, alias = astray[0]
    return [
        checks.Error(
            f"DATABASE_ROUTERS: {label} is asked of database {alias!r}, which may lag behind.",
            hint="Have the router return None for the apps presence and messaging: "
            "a replica would let in who was just revoked.",
            id="messaging.E005",
        )
    ]


def check_times(**_: Any) -> list[CheckMessage]:
    """Moments have a time zone: without one an hour of autumn comes twice, and no answer can tell which it is."""
    if settings.USE_TZ:
        return []
    return [
        checks.Error(
            "USE_TZ is False: moments have no time zone, and the API can't say when something was.",
            hint="Set USE_TZ = True; TIME_ZONE may be any.",
            id="messaging.E006",
        )
    ]


def check_database(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """PostgreSQL, new enough, with durable commits; what other databases a site has, it says itself."""
    alias = DEFAULT_DB_ALIAS
    if alias not in (databases or ()):
        return []
    if connections[alias].vendor != "postgresql":
        return [
            checks.Error(
                f"Database {alias!r} is {connections[alias].vendor}, not PostgreSQL.",
                hint="Set DATABASE_URL to a PostgreSQL server, or unset it for the built-in one.",
                id="messaging.E002",
            )
        ]
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings")
        return judge_server(alias, dict(cursor.fetchall()))


def judge_server(alias: str, shown: dict[str, str]) -> list[CheckMessage]:
    """What is wrong with a PostgreSQL server that shows these settings."""
    found: list[CheckMessage] = []
    if int(shown["server_version_num"]) // 10_000 < OLDEST_POSTGRESQL:
        found.append(
            checks.Error(
                f"Database {alias!r} is PostgreSQL {shown['server_version']}.",
                hint=f"Upgrade it to PostgreSQL {OLDEST_POSTGRESQL} or newer.",
                id="messaging.E003",
            )
        )
    for name, needed in DURABLE.items():
        if shown[name] != needed:
            found.append(
                checks.Warning(
                    f"Database {alias!r} has {name} = {shown[name]}: "
                    "a crash of its machine can lose acknowledged messages.",
                    hint=f"ALTER SYSTEM SET {name} = {needed}; SELECT pg_reload_conf();",
                    id="messaging.W001",
                )
            )
    return found
