"""DATABASE_URL becomes Django's DATABASES entry."""

import pytest

from project.addresses import database_from_url, listed
from project.errors import ServiceError


def test_a_full_address_is_taken_apart() -> None:
    entry = database_from_url("postgres://ann:p%40ss@db.example.org:6432/chat?sslmode=require")
    assert {key: entry[key] for key in ("USER", "PASSWORD", "HOST", "PORT", "NAME")} == {
        "USER": "ann",
        "PASSWORD": "p@ss",
        "HOST": "db.example.org",
        "PORT": "6432",
        "NAME": "chat",
    }
    assert entry["OPTIONS"]["sslmode"] == "require"


def test_the_directory_of_a_unix_socket_is_a_host() -> None:
    entry = database_from_url("postgresql://ann@/chat?host=/run/postgresql&port=5433")
    assert (entry["HOST"], entry["PORT"], entry["USER"]) == ("/run/postgresql", "5433", "ann")


def test_connections_are_pooled_and_never_outlive_their_request() -> None:
    entry = database_from_url("postgres://ann@db/chat")
    assert entry["CONN_MAX_AGE"] == 0
    assert entry["OPTIONS"]["pool"]["max_size"] > 0


def test_without_an_address_there_is_no_database() -> None:
    assert database_from_url("")["ENGINE"] == "django.db.backends.dummy"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ann@db/chat",
        "postgres://ann@db",
        "chat",
        "postgres://ann@db:port/chat",
        "postgres://ann:pass[word@db/chat",
        "postgres://ann:pass#word@db/chat",
    ],
)
def test_an_address_that_is_none_says_how_one_looks(url: str) -> None:
    with pytest.raises(ServiceError, match="DATABASE_URL") as refused:
        database_from_url(url)
    assert "word" not in str(refused.value).replace("password", "")


def test_names_in_a_list_may_have_spaces_around_them() -> None:
    assert listed(" chat.example.org, [::1],,127.0.0.1 ,") == [
        "chat.example.org",
        "[::1]",
        "127.0.0.1",
    ]
