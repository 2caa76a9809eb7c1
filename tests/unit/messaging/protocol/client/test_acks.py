"""The pace of acknowledgements."""

from messaging.protocol.client.acks import ACK_MS, Acks


def test_nothing_owed_is_nothing_due() -> None:
    """However long the last ack is ago."""
    acks = Acks()
    assert acks.deadline is None
    assert acks.take(1_000_000) == []


def test_an_ack_starts_the_count_anew() -> None:
    """Half of the window counts from the last ack."""
    acks = Acks()
    acks.max_messages, acks.max_bytes = 10, 100
    acks.owed["c1"] = None
    assert acks.take(5) == ["c1"]
    acks.owed["c2"] = None
    acks.messages, acks.bytes = 4, 49
    assert acks.deadline == 5 + ACK_MS
    assert acks.take(6) == []
    acks.bytes = 50
    assert acks.take(6) == ["c2"]
    assert (acks.messages, acks.bytes) == (0, 0)
