"""How a log record reads, and what never gets into one."""

import json
import logging
import sys
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError

from project.errors import ServiceError
from project.logs import Json, Line, level

BODY = "meet me at nine\nbehind the mill"
DETAIL = f'null value in column "kind"\nDETAIL:  Failing row contains (7, {BODY}).'


def record(sentence: str = "said", *args: Any, error: bool = False, **ids: str) -> Any:
    """A record as `logger.warning(…, extra=ids)` makes it."""
    made = logging.LogRecord(
        "messaging", logging.WARNING, __file__, 1, sentence, args, sys.exc_info() if error else None
    )
    made.__dict__.update(ids)
    return made


def test_a_record_is_one_line_of_json_with_its_ids() -> None:
    line = Json().format(record("sent %d\nlines", 2, device="d1", session="s1", conversation="c1"))
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == "sent 2\nlines"
    assert (told["device"], told["session"], told["conversation"]) == ("d1", "s1", "c1")
    assert (told["level"], told["logger"]) == ("warning", "messaging")
    assert told["time"].endswith("+00:00")


def test_a_record_without_ids_has_none() -> None:
    assert "device" not in json.loads(Json().format(record()))
    assert Line().format(record()).endswith("messaging: said")


def test_people_read_the_ids_behind_the_sentence() -> None:
    assert (
        Line()
        .format(record(device="d1", conversation="c1"))
        .endswith("said [device=d1 conversation=c1]")
    )


@pytest.mark.parametrize("formatter", [Json(), Line()])
@pytest.mark.parametrize("kind", [psycopg.IntegrityError, IntegrityError])
def test_what_people_wrote_is_not_told_with_an_error_of_the_database(
    formatter: logging.Formatter, kind: type[Exception]
) -> None:
    """Neither as an argument, nor in a stack trace, nor in that of the error it came from."""
    try:
        try:
            raise kind(DETAIL)
        except kind as cause:
            told = formatter.format(record("refused: %s", cause, error=True))
            raise RuntimeError("it failed") from cause
    except RuntimeError:
        told += formatter.format(record(error=True))
    assert "mill" not in told
    assert "nine" not in told
    assert told.count("null value in column") == 3
    assert "RuntimeError: it failed" in told


def test_a_level_is_known_however_it_is_written_and_another_is_one_line() -> None:
    assert [level(given) for given in ("debug", " Info", "")] == ["DEBUG", "INFO", "INFO"]
    with pytest.raises(ServiceError, match="LOG_LEVEL: loud is no level; write one of DEBUG"):
        level("loud")
