"""Which management commands start servers."""

from time import monotonic

import pytest

from project import external, limits, postgres
from project.errors import ServiceError
from project.services import needs_services


@pytest.mark.parametrize("line", ["serve", "migrate", "runserver", "shell", "check --database x"])
def test_a_command_that_talks_to_the_database_has_servers(line: str) -> None:
    assert needs_services(line.split())


@pytest.mark.parametrize("line", ["", "help", "--help", "serve --help", "check", "makemigrations"])
def test_a_command_that_needs_no_database_starts_nothing(line: str) -> None:
    assert not needs_services(line.split())


def test_a_redis_that_is_away_keeps_no_process_from_starting(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is only a hint: a rolling restart while it is away must not end in an outage."""
    external.check(database_url="", redis_url="redis://127.0.0.1:1/0")
    assert "Redis is away" in capsys.readouterr().err
    with pytest.raises(ServiceError, match=r"REDIS_URL does not work.*schemes"):
        external.check(database_url="", redis_url="bogus")
    assert capsys.readouterr().err == ""


def test_an_address_with_a_mistake_is_told_at_once() -> None:
    """It would be none in ten seconds, too."""
    began = monotonic()
    with pytest.raises(ServiceError, match=r"DATABASE_URL does not work: invalid URI query"):
        external.check(database_url="postgres://ann@127.0.0.1/chat?colour=red", redis_url="")
    assert monotonic() - began < external.PATIENCE_S / 2


@pytest.mark.parametrize("cores", [1, 2, 32, 128])
def test_our_postgresql_has_room_for_a_process_on_every_core(cores: int) -> None:
    """`make run` starts as many: on 32 cores the last ones found no room, and served nobody."""
    kept_back = 3  # superuser_reserved_connections
    room = postgres.most_connections(cores) - kept_back
    assert room >= cores * limits.CONNECTIONS
