"""How a write reads to the database."""

import msgspec

from messaging.journal.writer import Entry, fingerprint, operation
from messaging.protocol.frames import Send

TEAM = "0198f3a0-0000-7000-8000-00000000c001"
FILES = ("0198f3a0-0000-7000-8000-0000000000f1", "0198f3a0-0000-7000-8000-0000000000f2")


def send(body: str = "Lunch?", *files: str) -> Send:
    return Send(conversation=TEAM, client_id="a-1", body=body, attachments=files)


def test_keys_that_were_used_before_there_were_files_stay_valid() -> None:
    """The digest of this message is in databases: another one would turn a repeat into `client_id_reused`."""
    assert fingerprint(send()) == "3fa4a5cfa49cbb2e3fcd68adab0cea9b"


def test_files_and_their_order_are_part_of_what_was_said() -> None:
    said = [send("x", *FILES), send("x", *reversed(FILES)), send("x", FILES[0]), send("x")]
    assert len({fingerprint(frame) for frame in said}) == 4


def test_a_message_without_files_says_nothing_of_files() -> None:
    told = msgspec.to_builtins(operation(0, Entry("d", send(), lambda _: None, 200)))
    assert "attachments" not in told
    with_files = operation(0, Entry("d", send("x", *FILES), lambda _: None, 200))
    assert msgspec.to_builtins(with_files)["attachments"] == f"{{{FILES[0]},{FILES[1]}}}"
