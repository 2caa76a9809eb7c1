"""What came of the rules becomes rows and happenings, together."""

from messaging.client.ledger import Ledger
from messaging.protocol import Client
from messaging.protocol.client.happenings import Applied, Joined, Restarted
from messaging.protocol.frames import Message, Ok

JOINED = Joined(conversation="c1", kind="group", title="", since=3, last_seq=4)
MESSAGE = Message(id="m4", seq=4, position=4, body="hi")
APPLIED = Applied(conversation="c1", messages=[MESSAGE], upto=4)


def test_a_cursor_is_written_with_the_messages_that_it_covers() -> None:
    """And told together."""
    core = Client()
    core.cursors["c1"] = 4
    ledger = Ledger(core)
    ledger.learn([JOINED, APPLIED])
    changes, happened = ledger.take()
    assert [(row.conversation, row.cursor) for row in changes.standings] == [("c1", 4)]
    assert changes.started == {"c1": 3}
    assert changes.messages == [("c1", MESSAGE)]
    assert happened == [JOINED, APPLIED]
    changes, happened = ledger.take()
    assert not changes
    assert happened == []


def test_a_reset_takes_back_what_was_not_written_yet() -> None:
    """What came before it was of another database."""
    core = Client()
    core.cursors["c1"] = 0
    ledger = Ledger(core)
    ledger.taken("c1", 9)
    ledger.learn([APPLIED, Restarted(conversation="c1"), APPLIED])
    changes, _ = ledger.take()
    assert changes.forgotten == ["c1"]
    assert changes.messages == [("c1", MESSAGE)]
    assert changes.taken == {}


def test_a_request_is_written_when_asked_and_removed_when_settled() -> None:
    """The own message is in the device's copy as soon as the server has it."""
    core = Client()
    core.device, core.user = "d1", "u1"
    ledger = Ledger(core)
    entry = core.send("c1", "hi", client_id="k")
    ledger.asked("k")
    assert ledger.take()[0].asked == [("c1", entry.request)]
    place = Ok(client_id="k", message="m5", seq=5, position=5, version=1, created=7)
    ledger.learn([entry.confirmed("m5", place)])
    changes, _ = ledger.take()
    assert changes.settled == ["k"]
    assert [(lane, one.id, one.body, one.device) for lane, one in changes.messages] == [
        ("c1", "m5", "hi", "d1")
    ]
