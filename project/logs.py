"""How a log record reads: a line for people, or with LOG_FORMAT=json one JSON object a line.

Law: an error of the database is told by its first line only. What follows it (DETAIL, CONTEXT, LINE) quotes
rows and statements, and with them what people wrote. Tokens are in no record: nobody logs headers or bodies.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
from django.db import Error as DjangoError

from project.errors import ServiceError

IDS = ("device", "session", "conversation")
"""What a record may be about, given as `extra`."""


LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def level(given: str) -> str:
    """The level that LOG_LEVEL names, INFO if it is empty. Raises ServiceError for what is none."""
    named = given.strip().upper() or "INFO"
    if named not in LEVELS:
        raise ServiceError(f"LOG_LEVEL: {given} is no level; write one of {', '.join(LEVELS)}.")
    return named


class Line(logging.Formatter):
    """For people: time, process, level, logger, sentence, ids."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and a stack trace if it has one."""
        return super().format(_discreet(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line itself."""
        ids = " ".join(f"{name}={value}" for name, value in ids_of(record))
        return super().formatMessage(record) + (f" [{ids}]" if ids else "")

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """The stack trace, as discreet as the line."""
        return trace(ei)


class Json(logging.Formatter):
    """For machines: one object a line; times in UTC, to the millisecond."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        record = _discreet(record)
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **dict(ids_of(record)),
        }
        if record.exc_info:
            said["exception"] = trace(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def ids_of(record: logging.LogRecord) -> list[tuple[str, str]]:
    """The ids that the record is about."""
    found = ((name, getattr(record, name, None)) for name in IDS)
    return [(name, str(value)) for name, value in found if value is not None]


def trace(ei: object) -> str:
    """The stack trace of `sys.exc_info()`; of the database's errors only what is the same for every row."""
    text = logging.Formatter.formatException(_PLAIN, ei)  # type: ignore[arg-type]
    for error in _chain(ei[1] if isinstance(ei, tuple) else None):
        if isinstance(error, (psycopg.Error, DjangoError)):
            text = text.replace(str(error), first_line(error))
    return text


def first_line(error: BaseException) -> str:
    """What the error says, without what the database quotes."""
    return str(error).partition("\n")[0]


_PLAIN = logging.Formatter()


def _discreet(record: logging.LogRecord) -> logging.LogRecord:
    """The same record, but errors among its arguments are told by their first line."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            first_line(one) if isinstance(one, BaseException) else one for one in record.args
        )
    record.exc_text = None  # another handler's, which may have said more
    return record


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and whatever it came from, each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
            yield one
