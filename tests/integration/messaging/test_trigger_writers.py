"""Who writes, and how: the journal, lazy and lost sessions, many at once, and a purge."""

import unittest
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django import test
from django.core.management import call_command
from django.db import IntegrityError, connection, connections, transaction

from messaging.models import Conversation, Epoch, Message
from presence.models import User

Psql = psycopg.Connection[Any]
Heard = Callable[[], list[str]]
AtOnce = Callable[[Callable[[Psql], None]], None]
MANY_LOCKS = 50  # conversations per statement; enough that unordered locks did deadlock


class TestWriters:
    def test_the_journals_own_writes_pass_untouched(self, world: Any, heard: Heard) -> None:
        heard()
        with connection.cursor() as journal:
            journal.execute("SET lockstep.writer = journal")
            journal.execute(
                "INSERT INTO messaging_message (conversation_id, seq, position) VALUES (%s, 7, 7)",
                [world.room.pk],
            )
            journal.execute("RESET lockstep.writer")
        assert world.numbers() == [1, 2, 7]
        assert heard() == []

    def test_after_a_trigger_the_session_is_as_foreign_as_before(
        self, world: Any, psql: Psql
    ) -> None:
        with psql.transaction():
            for verb in ("INSERT INTO messaging_message (conversation_id) VALUES (%s)",) * 2:
                psql.execute(verb, [world.room.pk])
            with pytest.raises(psycopg.errors.RestrictViolation), psql.transaction():
                psql.execute("DELETE FROM messaging_message")
            psql.execute("DELETE FROM messaging_membership")
            psql.execute("UPDATE messaging_message SET body = 'x' WHERE kind = 'text'")
        assert world.numbers() == [1, 5, 6, 7, 8]

    def test_a_lazy_session_becomes_durable_before_it_is_visible(
        self, world: Any, psql: Psql
    ) -> None:
        psql.execute("SET synchronous_commit = off")
        with psql.transaction():
            psql.execute(
                "INSERT INTO messaging_message (conversation_id) VALUES (%s)", [world.room.pk]
            )
            assert psql.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert psql.execute("SHOW synchronous_commit").fetchone() == ("off",)

    def test_the_search_path_of_the_session_does_not_matter(self, world: Any, psql: Psql) -> None:
        psql.execute("SET search_path = ''")
        psql.execute(
            "INSERT INTO public.messaging_message (conversation_id) VALUES (%s)", [world.room.pk]
        )
        psql.execute("DELETE FROM public.messaging_membership")
        assert world.numbers() == [1, 2, 3, 4]

    @pytest.mark.parametrize("table", ["messaging_message", "messaging_conversation"])
    def test_temporary_tables_of_the_same_names_do_not_matter(
        self, world: Any, psql: Psql, table: str
    ) -> None:
        """As of an import that puts rows into one first."""
        psql.execute(f"CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING ALL)")
        psql.execute(f"INSERT INTO {table} SELECT * FROM public.{table}")
        psql.execute(
            "INSERT INTO public.messaging_message (conversation_id) VALUES (%s)", [world.room.pk]
        )
        psql.execute("DELETE FROM public.messaging_membership")
        psql.execute(f"DROP TABLE pg_temp.{table}")
        world.room.refresh_from_db()
        assert (world.numbers(), world.room.last_seq) == ([1, 2, 3, 4], 4)

    def test_writers_at_once_leave_no_hole_and_no_duplicate(
        self, world: Any, at_once: AtOnce
    ) -> None:
        def write(session: Psql) -> None:
            for _ in range(25):
                session.execute(
                    "INSERT INTO messaging_message (conversation_id) SELECT %s FROM generate_series(1, 4)",
                    [world.room.pk],
                )

        at_once(write)
        assert world.numbers() == list(range(1, 403))

    def test_statements_over_the_same_conversations_do_not_deadlock(
        self, world: Any, at_once: AtOnce
    ) -> None:
        Conversation.objects.bulk_create(Conversation() for _ in range(MANY_LOCKS))
        rooms = list(Conversation.objects.exclude(pk=world.room.pk).values_list("pk", flat=True))

        def write(session: Psql) -> None:
            for i in range(10):
                order: list[UUID] = rooms[:: -1 if i % 2 else 1]
                session.execute(
                    "INSERT INTO messaging_message (conversation_id) SELECT unnest(%s::uuid[])",
                    [order],
                )

        at_once(write)
        assert set(
            Conversation.objects.filter(pk__in=rooms).values_list("last_seq", flat=True)
        ) == {40}


class TestPurge:
    def test_a_purge_deletes_for_good_and_clears_the_replies(self, world: Any, psql: Psql) -> None:
        reply = Message.objects.create(conversation=world.room, reply_to=world.message, body="re")
        psql.execute("SET lockstep.purge = on")
        psql.execute("DELETE FROM messaging_message WHERE id = %s", [world.message.pk])
        reply.refresh_from_db()
        assert (reply.reply_to_id, reply.seq, reply.version) == (None, 3, 1)
        assert world.numbers() == [1, 3]

    def test_a_purge_can_remove_a_user_with_everything(self, world: Any, psql: Psql) -> None:
        psql.execute("SET lockstep.purge = on")
        for table in ("receipt", "message", "membership", "conversation", "inbox"):
            psql.execute(f"DELETE FROM messaging_{table}")
        psql.execute("DELETE FROM presence_device")
        psql.execute("DELETE FROM presence_user")
        assert User.objects.count() == 0

    def test_flush_empties_all_and_begins_a_new_epoch(self, world: Any, psql: Psql) -> None:
        before = Epoch.objects.get_or_create(pk=1)[0].value
        call_command("flush", interactive=False, verbosity=0)
        assert Message.objects.count() == 0
        assert Epoch.objects.get().value != before
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("TRUNCATE messaging_message CASCADE")

    def test_another_database_of_the_site_is_flushed_as_django_does(self, world: Any) -> None:
        """As at the end of each TransactionTestCase of a site that has one: it has no table of ours, and no such setting."""
        legacy = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        both = connections.configure_settings({**connections.settings, "legacy": legacy})

        class Case(test.TransactionTestCase):
            databases = set(both)

            def test_nothing(self) -> None:
                pass

        told = unittest.TestResult()
        with (
            test.override_settings(DATABASE_ROUTERS=[Apart()]),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setitem(connections.settings, "legacy", both["legacy"])
            Case("test_nothing")(told)
            connections["legacy"].close()
            del connections["legacy"]
        assert told.errors == []
        assert (told.testsRun, Message.objects.count()) == (1, 0)


class Apart:
    """A router as on Django's page of several databases: the second one is of one app only."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "legacy") == (app_label == "legacy")
