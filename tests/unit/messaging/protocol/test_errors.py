"""Refusals and close codes are data, and each says what to do next."""

import re
from dataclasses import fields

import pytest

from messaging import conf
from messaging.protocol.client.reconnect import may_return
from messaging.protocol.errors import (
    INDEFINITE,
    JUDGED,
    RETRY_AFTER_MS,
    CloseCode,
    FrameError,
    LockstepError,
    Refusal,
    Refused,
)


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusal_reads_as_a_sentence(refusal: Refusal) -> None:
    """An operator or user knows what to do from the text alone."""
    text = refusal.text("the detail")
    assert text[0].isupper()
    assert text.endswith(".")
    assert "{" not in text
    assert refusal.code == refusal.name.lower()


def test_exceptions_of_the_tables_name_refusals_that_exist() -> None:
    """A misspelt name would silently change a client's next move."""
    names = {refusal.name for refusal in Refusal}
    assert set(RETRY_AFTER_MS) <= names
    assert names >= INDEFINITE | JUDGED
    assert not Refusal.DATABASE_UNAVAILABLE.definite
    assert Refusal.CONFLICT.definite


def test_what_may_be_repeated_was_not_judged_by_what_is_stored() -> None:
    """So it may be told while the lease is away, and then it must be told: G5."""
    assert JUDGED.isdisjoint(RETRY_AFTER_MS)
    assert Refusal.CONFLICT.judged
    assert not Refusal.DATABASE_UNAVAILABLE.judged


def test_what_may_have_happened_may_be_repeated() -> None:
    """An unknown outcome is settled by sending the same key again."""
    assert all(Refusal[name].retry_after is not None for name in INDEFINITE)


@pytest.mark.parametrize("code", CloseCode)
def test_a_close_code_tells_a_client_the_same_as_it_tells_the_server(code: CloseCode) -> None:
    """The number's range carries the next move."""
    assert code.reconnect == may_return(code)
    assert code.text.endswith(".")
    assert len(code.reason.encode()) <= 123  # RFC 6455: what fits a close frame
    assert 4000 <= code < 5000 or code in (1008, 1009, 1012)


def test_a_setting_that_a_sentence_names_exists() -> None:
    """Whoever is told to set it looks for that name."""
    sentences = [code.text for code in CloseCode] + [refusal.text() for refusal in Refusal]
    named = re.findall(r"\b[A-Z]+_[A-Z_]+\b(?:\['(\w+)'\])?", " ".join(sentences))
    assert named
    assert set(named) <= {field.name for field in fields(conf.Settings)}


def test_an_error_shows_its_facts_in_its_sentence() -> None:
    """Facts are attributes; the sentence is made of them."""
    refused = Refused(Refusal.TOO_LARGE, "65536 bytes")
    assert str(refused) == "The limit is 65536 bytes; send large content as a file."
    bad = FrameError(Refusal.UNKNOWN_TYPE, "'x'", ref=7, client_id="k")
    assert (bad.ref, bad.client_id) == (7, "k")
    assert str(bad).startswith("There is no frame of type 'x'")
    assert issubclass(Refused, LockstepError)
    assert issubclass(FrameError, LockstepError)
