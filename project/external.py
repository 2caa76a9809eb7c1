"""Servers that the user has brought: are they there, and do they let us in?

Without the database nothing works. Redis is only a hint (G6): while it is away a process starts, says so, and
hears of the others by the database; only an address or a password that is wrong for good is an error.
"""

import re
import sys
from collections.abc import Callable

import psycopg
import redis

from project import daemons
from project.addresses import database_from_url
from project.errors import ServiceError

PATIENCE_S = 10  # a server that is just starting refuses at first
UNKNOWN_HOST = ("not known", "No address associated")  # as getaddrinfo(3) says it
FINAL = (
    *("password", "authentication", "does not exist", "no pg_hba.conf entry", "translate host"),
    *("Authentication", "schemes", "invalid", "unexpected character", *UNKNOWN_HOST),
)


def check(*, database_url: str, redis_url: str) -> None:
    """Raise ServiceError unless every given server answers, or is a Redis that is away; an empty address is skipped."""
    database_from_url(database_url)
    for name, url, attempt in (
        ("DATABASE_URL", database_url, _connect_database),
        ("REDIS_URL", redis_url, _connect_redis),
    ):
        if url and (reason := _first_answer(attempt, url)):
            raise ServiceError(f"{name} does not work: {reason} Correct {name}, or unset it.")


def _first_answer(attempt: Callable[[str], str], url: str) -> str:
    reason = ""
    for _ in daemons.pauses(PATIENCE_S):
        reason = attempt(url)
        if not reason or any(word in reason for word in FINAL):
            break
    return reason


def _connect_database(url: str) -> str:
    try:
        with psycopg.connect(url, connect_timeout=5):
            return ""
    except psycopg.Error as error:
        return _sentence(str(error))


def _connect_redis(url: str) -> str:
    try:
        with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
            return ""
    except (redis.AuthenticationError, redis.exceptions.AuthorizationError) as error:
        return _sentence(str(error))
    except (redis.ConnectionError, redis.TimeoutError) as error:
        if any(word in str(error) for word in UNKNOWN_HOST):
            return _sentence(str(error))
        print(
            f"warning: Redis is away, it goes on without: {_sentence(str(error))}", file=sys.stderr
        )
        return ""
    except (redis.RedisError, ValueError) as error:
        return _sentence(str(error))


def _sentence(text: str) -> str:
    """The first line of a driver's message, which names the server and the reason."""
    line = (text.strip().splitlines() or ["no reason given"])[0]
    return re.sub(r"^connection failed: |FATAL: *", "", line).strip().rstrip(".") + "."
