"""Which management commands start servers."""

import pytest

from project.services import needs_services


@pytest.mark.parametrize("line", ["serve", "migrate", "runserver", "shell", "check --database x"])
def test_a_command_that_talks_to_the_database_has_servers(line: str) -> None:
    assert needs_services(line.split())


@pytest.mark.parametrize("line", ["", "help", "--help", "serve --help", "check", "makemigrations"])
def test_a_command_that_needs_no_database_starts_nothing(line: str) -> None:
    assert not needs_services(line.split())
