"""The migrations can be taken back, and the models and tables agree."""

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection


@pytest.fixture
def migrated_again(transactional_db: None) -> Iterator[None]:
    yield
    call_command("migrate", verbosity=0)


def lockstep_functions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
            " AND (proname LIKE 'messaging%' OR proname LIKE 'lockstep%')"
        )
        return {row[0] for row in cursor.fetchall()}


@pytest.mark.slow
def test_taking_all_back_leaves_nothing_and_doing_it_again_gives_the_same(
    migrated_again: None,
) -> None:
    before = lockstep_functions()
    call_command("migrate", "messaging", "zero", verbosity=0)
    assert lockstep_functions() == {"lockstep_uuid"}
    assert [t for t in connection.introspection.table_names() if t.startswith("messaging")] == []
    call_command("migrate", verbosity=0)
    assert lockstep_functions() == before


def test_no_function_looks_for_its_tables_among_temporary_ones_first(
    transactional_db: None,
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, setting FROM pg_proc CROSS JOIN unnest(proconfig) AS setting"
            " WHERE pronamespace = current_schema()::regnamespace AND setting LIKE 'search_path=%'"
        )
        paths = dict(cursor.fetchall())
    assert len(paths) > 30
    assert set(paths.values()) == {"search_path=public, pg_temp"}


def test_no_migration_is_missing(transactional_db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_trigger_leaves_the_journal_alone(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'lockstep%'"
        )
        triggers = cursor.fetchall()
    assert len(triggers) > 30
    for name, definition in triggers:
        assert "'lockstep.writer'" in definition, name
