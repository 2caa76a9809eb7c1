"""Every way to write presence past the roster, and whom it wakes (guarantee G9)."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests import scene
from tests.ear import listening
from tests.scene import Psql, Seat

pytestmark = pytest.mark.django_db

STATUS = "INSERT INTO presence_status (user_id, text) VALUES (%s, 'lunch')"
CONNECT = "INSERT INTO presence_connection (device_id, node_id) VALUES (%s, %s)"
MANY = 101

Heard = Callable[[], list[str]]


@pytest.fixture
def heard(sql: Psql) -> Iterator[Heard]:
    with scene.connect() as ear, listening(ear, sql) as collect:
        yield collect


@pytest.fixture
def ann(sql: Psql) -> Seat:
    return scene.new_seat(sql)


@pytest.fixture
def node(sql: Psql) -> str:
    return str(scene.one(sql, "INSERT INTO presence_node (name) VALUES ('n') RETURNING id::text"))


def copy(sql: Psql, statement: str, *rows: tuple[object, ...]) -> None:
    with sql.cursor().copy(f"COPY {statement} FROM STDIN".encode()) as stream:
        for row in rows:
            stream.write_row(row)


def test_a_session_that_is_written_by_hand_wakes_whoever_watches_its_user(
    sql: Psql, heard: Heard, ann: Seat, node: str
) -> None:
    laptop, bob = scene.new_seat(sql, ann.user), scene.new_seat(sql)
    heard()
    group, other = [f"presence.{ann.user}"], f"presence.{bob.user}"
    copy(sql, "presence_connection (device_id, node_id)", (ann.device, node), (laptop.device, node))
    assert heard() == group  # once for both
    sql.execute("UPDATE presence_connection SET state = 'away' WHERE node_id = %s", [node])
    assert heard() == group
    sql.execute(
        "UPDATE presence_connection SET device_id = %s WHERE device_id = %s",
        [bob.device, laptop.device],
    )
    assert heard() == sorted([*group, other])
    sql.execute("DELETE FROM presence_connection WHERE device_id = %s", [ann.device])
    assert heard() == group
    sql.execute("DELETE FROM presence_connection WHERE device_id = %s", [ann.device])
    assert heard() == []


def test_what_a_user_says_wakes_whoever_watches_them(sql: Psql, heard: Heard, ann: Seat) -> None:
    group = [f"presence.{ann.user}"]
    heard()
    sql.execute(STATUS, [ann.user])
    assert heard() == group
    first = scene.one(sql, "SELECT changed FROM presence_status WHERE user_id = %s", ann.user)
    sql.execute("UPDATE presence_status SET invisible = true WHERE user_id = %s", [ann.user])
    assert heard() == group
    later = scene.one(sql, "SELECT changed FROM presence_status WHERE user_id = %s", ann.user)
    assert later > first
    sql.execute("DELETE FROM presence_status WHERE user_id = %s", [ann.user])
    assert heard() == group


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE presence_node SET lease = now() WHERE id = %s",
        "DELETE FROM presence_node WHERE id = %s",
    ],
)
def test_a_hand_on_a_node_wakes_everyone(
    sql: Psql, heard: Heard, node: str, statement: str
) -> None:
    heard()
    sql.execute(statement, [node])
    assert heard() == ["*"]


def test_many_at_once_are_one_hint(sql: Psql, heard: Heard) -> None:
    users = [scene.new_user(sql) for _ in range(MANY)]
    heard()
    copy(sql, "presence_status (user_id)", *((user,) for user in users[1:]))
    assert len(heard()) == MANY - 1
    sql.execute("DELETE FROM presence_status WHERE user_id = ANY (%s::uuid[])", [users])
    assert len(heard()) == MANY - 1
    copy(sql, "presence_status (user_id)", *((user,) for user in users))
    assert heard() == ["*"]


def test_a_truncation_wakes_everyone(sql: Psql, heard: Heard) -> None:
    for table in ("presence_connection", "presence_status"):
        sql.execute(f"TRUNCATE {table}".encode())
        assert heard() == ["*"]


def test_the_roster_itself_wakes_nobody_here(heard: Heard, sql: Psql, ann: Seat, node: str) -> None:
    """It announces what it commits by its signal; a NOTIFY would be one lock of the whole cluster a hello."""
    heard()
    with scene.connect(options="-c lockstep.writer=journal") as roster:
        roster.execute(CONNECT, [ann.device, node])
        roster.execute("UPDATE presence_connection SET state = 'away'")
        roster.execute(STATUS, [ann.user])
        roster.execute("UPDATE presence_node SET lease = now()")
        roster.execute("DELETE FROM presence_connection")
    assert heard() == []


@pytest.mark.parametrize("state", ["asleep", "offline", ""])
def test_the_database_refuses_states_that_do_not_exist(
    sql: Psql, ann: Seat, node: str, state: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        sql.execute(
            "INSERT INTO presence_connection (device_id, node_id, state) VALUES (%s, %s, %s)",
            [ann.device, node, state],
        )


def test_the_triggers_find_their_tables_whatever_the_search_path(
    sql: Psql, heard: Heard, ann: Seat
) -> None:
    heard()
    with scene.connect(options="-c search_path=pg_catalog") as stranger:
        parameters: Any = [ann.user]
        stranger.execute("INSERT INTO public.presence_status (user_id) VALUES (%s)", parameters)
    assert heard() == [f"presence.{ann.user}"]
