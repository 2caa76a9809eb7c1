"""What a body may hold."""

import pytest

from messaging.protocol.content import check_body, check_key
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("body", "kind", "refusal"),
    [
        ("a\x00b", "text", Refusal.INVALID_BODY),
        ("a\ud800b", "text", Refusal.INVALID_BODY),
        ("x" * (MAX_BODY_BYTES + 1), "text", Refusal.TOO_LARGE),
        ("é" * (MAX_BODY_BYTES // 2 + 1), "text", Refusal.TOO_LARGE),
        ("{", "data", Refusal.INVALID_BODY),
        ("", "data", Refusal.INVALID_BODY),
        ("[" * 60_000, "data", Refusal.INVALID_BODY),
        ("[" * 10_000 + "]" * 10_000, "data", Refusal.INVALID_BODY),
    ],
)
def test_a_body_that_can_not_be_stored_is_refused_by_name(
    body: str, kind: str, refusal: Refusal
) -> None:
    """Never an error of the database's."""
    with pytest.raises(Refused) as caught:
        check_body(body, kind)
    assert caught.value.refusal is refusal


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "text"),
        ("x" * MAX_BODY_BYTES, "text"),
        ("é" * (MAX_BODY_BYTES // 2), "text"),
        ("😀", "text"),
        ('{"a": [1]}', "data"),
        ("null", "data"),
    ],
)
def test_everything_else_is_taken(body: str, kind: str) -> None:
    """Up to the last byte of the limit."""
    check_body(body, kind)


def test_a_key_has_no_nul() -> None:
    """PostgreSQL's text has none."""
    check_key("k")
    with pytest.raises(Refused, match="client_id holds a NUL"):
        check_key("k\x00")
