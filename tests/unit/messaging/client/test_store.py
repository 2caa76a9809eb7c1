"""A store has a cursor and what it covers, or neither."""

import sqlite3
from pathlib import Path

import pytest

from messaging.client.store import Changes, Standing, Store, StoreError
from messaging.protocol.client.happenings import Applied
from messaging.protocol.frames import Message, Send

C = "0198f3a0-0000-7000-8000-00000000c001"
SEND = Send(conversation=C, client_id="k1", body="é\n😀", kind="text")


def standing(cursor: int | None, **more: int | None) -> Standing:
    """A row of c1."""
    read, left = more.get("read") or 0, more.get("left")
    return Standing(conversation="c1", cursor=cursor, read=read, left=left, unsettled=bool(read))


def message(number: int, body: str = "hi", *, position: int | None = None) -> tuple[str, Message]:
    """A message of c1, named by its place."""
    place = position or number
    return "c1", Message(id=f"m{place}", seq=number, position=place, body=body)


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    """All that a client knows about itself."""
    store = Store(tmp_path / "a.sqlite")
    installation = store.installation()
    store.write(
        Changes(
            facts={"device": "d1", "user": "u1", "epoch": "e1"},
            asked=[("c1", SEND), ("c1", Send(conversation=C, client_id="k2", body="2"))],
            started={"c1": 3},
            standings=[standing(5, read=4)],
            messages=[message(4), message(5)],
        )
    )
    store.write(Changes(settled=["k2"]))
    store.close()
    store = Store(tmp_path / "a.sqlite")
    saved = store.load()
    assert (saved.device, saved.user, saved.epoch) == ("d1", "u1", "e1")
    assert (saved.cursors, saved.reads, saved.unsettled) == ({"c1": 5}, {"c1": 4}, ["c1"])
    assert saved.outbox == [("c1", SEND)]
    assert store.installation() == installation
    assert [one.id for one in store.messages("c1")] == ["m4", "m5"]
    store.close()


def test_what_the_application_has_not_taken_is_told_again() -> None:
    """From where the feed started, in the newest state, in order."""
    store = Store()
    store.write(
        Changes(
            started={"c1": 3},
            standings=[standing(6)],
            messages=[message(4), message(5), message(6, "edited", position=4)],
        )
    )
    (untaken,) = store.untaken()
    assert untaken == Applied(
        conversation="c1", messages=[message(5)[1], message(6, "edited", position=4)[1]], upto=6
    )
    store.write(Changes(taken={"c1": 6}))
    assert store.untaken() == []
    store.close()


def test_an_older_state_never_replaces_a_newer_one() -> None:
    """Whatever the order of writing."""
    store = Store()
    store.write(Changes(messages=[message(9, "new", position=4)]))
    store.write(Changes(messages=[message(4, "old")]))
    assert [one.body for one in store.messages("c1")] == ["new"]
    store.close()


def test_a_reset_forgets_messages_and_what_was_taken() -> None:
    """In the same transaction as what came after it."""
    store = Store()
    store.write(Changes(started={"c1": 0}, standings=[standing(9)], messages=[message(9, "lost")]))
    store.write(Changes(taken={"c1": 9}))
    store.write(Changes(forgotten=["c1"], standings=[standing(1)], messages=[message(1, "new")]))
    assert [one.body for one in store.messages("c1")] == ["new"]
    assert [one.upto for one in store.untaken()] == [1]
    store.close()


def test_a_write_that_fails_leaves_nothing_behind() -> None:
    """A cursor without its messages would lose them."""
    store = Store()
    store.write(Changes(asked=[("c1", SEND)]))
    with pytest.raises(sqlite3.IntegrityError):
        store.write(Changes(facts={"epoch": "e2"}, asked=[("c1", SEND)], standings=[standing(5)]))
    assert (store.load().epoch, store.load().cursors) == (None, {})
    store.write(Changes(facts={"epoch": "e3"}))
    assert store.load().epoch == "e3"
    store.close()


def test_a_file_that_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    """And left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("no database " * 100)
    with pytest.raises(StoreError, match="can't be used as a store"):
        Store(path)
    assert path.read_text().startswith("no database")
    with pytest.raises(StoreError, match="can't be used as a store"):
        Store(tmp_path / "absent" / "a.sqlite")


def test_a_damaged_file_is_told_in_one_line_whatever_is_read(tmp_path: Path) -> None:
    """A disk that lost some of it: the mend is another file, not a stack trace."""
    path = tmp_path / "a.sqlite"
    store = Store(path)
    store.write(Changes(standings=[standing(9)], messages=[message(n) for n in range(1, 9)]))
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)  # the first page tells that it is a database, and of which tables
        file.write(b"\xff" * (path.stat().st_size - 4096))
    store = Store(path)
    for read in (store.load, store.untaken, lambda: store.messages("c1"), store.installation):
        with pytest.raises(StoreError, match="malformed; choose another file"):
            read()
    store.close()


def test_a_key_that_is_asked_anew_in_the_moment_of_its_answer_waits_again() -> None:
    """One transaction holds both: the old one goes, the new one stays."""
    store = Store()
    store.write(Changes(asked=[("c1", SEND)]))
    store.write(Changes(settled=["k1"], asked=[("c2", SEND)]))
    assert store.load().outbox == [("c2", SEND)]
    store.close()


def test_what_people_wrote_is_for_nobody_else_on_the_computer(tmp_path: Path) -> None:
    """The file holds every message; while it is open, what lies beside it does, too."""
    store = Store(tmp_path / "a.sqlite")
    store.write(Changes(messages=[message(1)]))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    store.close()
    assert modes == {"a.sqlite": "0o600", "a.sqlite-wal": "0o600"}


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    """Guessing at its tables could lose what is in its outbox."""
    path = tmp_path / "a.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="another version"):
        Store(path)


@pytest.mark.slow
def test_two_clients_can_not_share_a_store(tmp_path: Path) -> None:
    """Each would take half of the messages."""
    store = Store(tmp_path / "a.sqlite")
    with pytest.raises(StoreError, match="is another client using it"):
        Store(tmp_path / "a.sqlite")
    store.close()
    Store(tmp_path / "a.sqlite").close()
