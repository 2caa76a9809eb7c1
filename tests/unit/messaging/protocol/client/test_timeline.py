"""What a device shows."""

from messaging.protocol.client.happenings import Confirmed
from messaging.protocol.client.timeline import Timeline
from messaging.protocol.frames import Delete, Message, Send


def message(name: str, seq: int, position: int, body: str = "") -> Message:
    """A message in short."""
    return Message(id=name, seq=seq, position=position, body=body)


def test_the_newest_state_wins_and_keeps_its_place() -> None:
    """Whatever order the states come in."""
    timeline = Timeline([message("a", 1, 1, "a"), message("b", 2, 2, "b")])
    timeline.apply([message("a", 5, 1, "new"), message("b", 1, 2, "old")])
    assert [one.body for one in timeline.ordered()] == ["new", "b"]


def test_an_own_message_is_shown_before_the_feed_brings_it() -> None:
    """And the feed's word wins; a confirmed deletion, or a later version, is the feed's to show."""
    timeline = Timeline()
    send = Send(conversation="c", client_id="k", body="mine")
    place = {"client_id": "k", "conversation": "c", "message": "m", "created": 5}
    ours = Confirmed(request=send, seq=3, position=3, version=1, **place)  # type: ignore[arg-type]
    timeline.confirm(ours, device="d", user="u")
    assert timeline.ordered() == [
        Message(
            id="m", seq=3, position=3, body="mine", created=5, device="d", user="u", client_id="k"
        )
    ]
    timeline.apply([message("m", 3, 3, "theirs")])
    timeline.confirm(ours, device="d", user="u")
    assert [one.body for one in timeline.ordered()] == ["theirs"]
    other = Timeline()
    delete = Delete(message="m", base_version=1, client_id="k")
    for request, version in ((delete, 2), (send, 2)):
        late = Confirmed(request=request, seq=4, position=3, version=version, **place)  # type: ignore[arg-type]
        other.confirm(late, device="d", user="u")
    assert other.ordered() == []
