"""What a body may hold."""

import pytest

from messaging.protocol.content import check_body, check_key, check_status
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import MAX_BODY_BYTES, MAX_STATUS


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


@pytest.mark.parametrize("key", ["k", "k" * 64, "\U0001f600" * 64])
def test_a_key_has_up_to_64_characters(key: str) -> None:
    """However many bytes these take."""
    check_key(key)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "0 characters, not 1 to 64"),
        ("k" * 65, "65 characters, not 1 to 64"),
        ("k\x00", "a NUL"),
        ("k\ud83d", "a lone surrogate"),
    ],
)
def test_a_key_that_no_server_takes_is_refused_with_the_reason(key: str, reason: str) -> None:
    """The server could not even name it in its answer."""
    with pytest.raises(Refused, match=f"client_id h(as|olds) {reason}") as caught:
        check_key(key)
    assert caught.value.refusal is Refusal.BAD_FRAME


@pytest.mark.parametrize("text", ["x" * (MAX_STATUS + 1), "a\x00b", "a\ud800b"])
def test_a_presence_text_that_can_not_be_stored_is_refused(text: str) -> None:
    """Never an error of the database's."""
    with pytest.raises(Refused) as caught:
        check_status(text)
    assert caught.value.refusal is Refusal.BAD_FRAME
    assert str(caught.value.detail).startswith("text h")


@pytest.mark.parametrize("text", ["", "é" * MAX_STATUS, "in a meeting 😀"])
def test_a_presence_text_counts_characters(text: str) -> None:
    """Whatever they take in bytes."""
    check_status(text)
