"""The limiting resource: each is named when its figures are planted, and none when nothing is full."""

import pytest

from perf.measure.limiting import generator_was_the_bottleneck, limit_of, limiting
from perf.measure.usage import Usage, usage_of

IDLE = {
    "cpus": 8,
    "server_percent": 40.0,
    "server_busiest_percent": 40.0,
    "postgres_percent": 30.0,
    "postgres_busiest_percent": 20.0,
    "valkey_percent": 2.0,
    "generator_percent": 30.0,
    "generator_busiest_percent": 30.0,
    "generator_late_ms": 0.4,
    "others_percent": 5.0,
    "stolen_percent": 1.0,
    "fsync_ms": 0.5,
    "wal_syncs_per_s": 100.0,
    "lock_waits": 0.0,
    "pool_waits": 0.0,
    "memory_used_share": 0.4,
    "descriptors_share": 0.1,
}

PLANTED = {
    "the server's event loop": {"server_busiest_percent": 97.0},
    "PostgreSQL": {"postgres_busiest_percent": 92.0},
    "Valkey": {"valkey_percent": 95.0},
    "the disk": {"fsync_ms": 9.0, "wal_syncs_per_s": 105.0},
    "locks": {"lock_waits": 3.5},
    "the connection pool": {"pool_waits": 12.0},
    "memory": {"memory_used_share": 0.97},
    "file descriptors": {"descriptors_share": 0.99},
    "the CPUs of the machine": {"cpus": 2, "server_percent": 75.0, "postgres_percent": 60.0, "generator_percent": 55.0},
    "the load generator, whose": {"generator_busiest_percent": 96.0},
    "the load generator, which": {"generator_late_ms": 140.0},
    "the host of this virtual machine": {"stolen_percent": 40.0, "generator_late_ms": 140.0},
    "processes that are no part of the run": {"cpus": 2, "server_percent": 60.0, "others_percent": 90.0},
}  # fmt: skip


@pytest.mark.parametrize("resource", PLANTED)
def test_a_planted_limit_is_named_with_its_lever(resource: str) -> None:
    said = limiting(Usage(**{**IDLE, **PLANTED[resource]}))  # type: ignore[arg-type]
    assert said.startswith(f"Limited by {resource}")
    assert "Next lever: " in said


def test_without_a_limit_the_nearest_is_named_and_more_load_advised() -> None:
    said = limiting(Usage(**IDLE))  # type: ignore[arg-type]
    assert said.startswith("No resource was at its limit; nearest is the server's event loop")
    assert "ask for more load" in said


def test_what_nobody_looked_at_is_not_judged() -> None:
    assert limit_of(Usage()) is None
    assert limiting(Usage()).startswith("Nothing is known")


def test_of_a_server_elsewhere_nothing_is_known_however_idle_this_machine_is() -> None:
    seen = {
        name: IDLE[name] for name in IDLE if not name.startswith(("server", "postgres_", "valkey"))
    }
    said = limiting(Usage(**seen))  # type: ignore[arg-type]
    assert said.startswith("Nothing is known about the limiting resource: no process of the server")
    assert "more load" not in said


def test_a_generator_at_its_limit_is_named_before_everything_else() -> None:
    usage = Usage(**{**IDLE, "server_busiest_percent": 100.0, "generator_busiest_percent": 91.0})  # type: ignore[arg-type]
    assert limiting(usage).startswith("Limited by the load generator")
    assert generator_was_the_bottleneck(usage)


def test_a_generator_with_time_left_is_not_the_bottleneck() -> None:
    assert generator_was_the_bottleneck(Usage(**IDLE)) is None  # type: ignore[arg-type]


def test_busy_others_do_not_matter_on_a_machine_with_cores_left() -> None:
    assert limit_of(Usage(**{**IDLE, "others_percent": 200.0})) is None  # type: ignore[arg-type]


def test_the_usage_is_what_lasted_while_messages_were_sent() -> None:
    quiet = [{"server.cpu_percent": 0.0} for _ in range(50)]
    loaded = [{"server.cpu_percent": 80.0, "load.sent": 100.0} for _ in range(20)]
    peak = [{"server.cpu_percent": 180.0, "load.sent": 100.0}]
    usage = usage_of([*quiet, *loaded, *peak], cpus=2)
    assert usage.server_percent == 80
    assert usage.postgres_percent is None


def test_without_a_word_of_the_load_every_second_counts() -> None:
    assert usage_of([{"server.cpu_percent": 10.0}], cpus=2).server_percent == 10
