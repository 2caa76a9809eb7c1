"""What a message costs: the silence is subtracted, and nothing is divided by nothing."""

from perf.measure.counters import Reading, table

BEFORE = Reading(statements={"INSERT": 10.0}, wal_bytes=1000, commands={"publish": 3.0})
AFTER = Reading(
    statements={"INSERT": 110.0, "SELECT pass": 2.0},
    wal_bytes=51_000,
    commands={"publish": 103.0},
    bytes_received=40_000,
)


def costs(**options: object) -> dict[str, float]:
    spent = AFTER.since(BEFORE)
    return {row.what: row.each for row in table(spent, messages=100, deliveries=200, **options)}  # type: ignore[arg-type]


def test_every_count_is_given_per_message() -> None:
    found = costs()
    assert found["SQL statements"] == 1.02
    assert found["WAL bytes"] == 500
    assert found["Valkey commands"] == 1
    assert found["SQL: INSERT"] == 1


def test_what_an_equally_long_silence_costs_is_subtracted() -> None:
    found = costs(idle=Reading(statements={"SELECT pass": 2.0}, wal_bytes=10_000))
    assert found["SQL statements"] == 1
    assert found["WAL bytes"] == 400
    assert "SQL: SELECT pass" not in found


def test_bytes_on_the_wire_are_given_per_delivery_and_left_out_when_nobody_counted_them() -> None:
    assert "bytes on the wire" not in costs()
    spent = AFTER.since(Reading(bytes_received=0))
    rows = {row.what: row for row in table(spent, messages=100, deliveries=200)}
    assert rows["bytes on the wire"].each == 200
    assert rows["bytes on the wire"].per == "delivery"


def test_without_messages_there_is_no_table() -> None:
    assert table(AFTER, messages=0, deliveries=0) == []
