"""What a message's body, its key and a presence text may hold, told the same way to every door: WebSocket, REST, clients.

PostgreSQL's text has no NUL, UTF-8 has no lone surrogates, and a page of 500 messages must stay
small. Who may write a message is decided elsewhere, under the conversation's lock.
"""

from __future__ import annotations

import re

import msgspec

from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import MAX_BODY_BYTES, MAX_KEY, MAX_STATUS

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_id(text: str) -> bool:
    """Whether the text is an id as the wire writes it: a UUID in lower case with hyphens."""
    return _ID.fullmatch(text) is not None


def check_key(key: str) -> None:
    """Raise `Refused` if no server takes the idempotency key: it would be refused without its name."""
    if not 1 <= len(key) <= MAX_KEY:
        raise Refused(Refusal.BAD_FRAME, f"client_id has {len(key)} characters, not 1 to {MAX_KEY}")
    if "\x00" in key:
        raise Refused(Refusal.BAD_FRAME, "client_id holds a NUL character")
    if not (key.isascii() or _is_unicode(key)):
        raise Refused(Refusal.BAD_FRAME, "client_id holds a lone surrogate")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_status(text: str) -> None:
    """Raise `Refused` if a presence text can't be stored: too long, NUL, lone surrogate."""
    if len(text) > MAX_STATUS:
        raise Refused(
            Refusal.BAD_FRAME, f"text has {len(text)} characters, the limit is {MAX_STATUS}"
        )
    if "\x00" in text:
        raise Refused(Refusal.BAD_FRAME, "text holds a NUL character")
    if not _is_unicode(text):
        raise Refused(Refusal.BAD_FRAME, "text holds a lone surrogate")


def check_body(body: str, kind: str = "text") -> None:
    """Raise `Refused` if the body can't be stored: NUL, lone surrogate, too large, `data` that is no JSON."""
    if "\x00" in body:
        raise Refused(Refusal.INVALID_BODY, "it holds a NUL character")
    if not body.isascii():
        _check_unicode(body)
    elif len(body) > MAX_BODY_BYTES:
        raise _too_large(len(body))
    if kind == "data":
        _check_json(body)


def _check_unicode(body: str) -> None:
    try:
        size = len(body.encode())
    except UnicodeEncodeError:
        raise Refused(Refusal.INVALID_BODY, "it holds a lone surrogate") from None
    if size > MAX_BODY_BYTES:
        raise _too_large(size)


def _too_large(size: int) -> Refused:
    return Refused(Refusal.TOO_LARGE, f"{MAX_BODY_BYTES} bytes for a body, this one has {size}")


def _check_json(body: str) -> None:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Refused(Refusal.INVALID_BODY, "the body of kind `data` is a JSON text") from None
