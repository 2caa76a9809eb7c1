"""The accounts that a fleet runs as: what `manage.py provision` prints, one JSON line per device."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One device that may connect, and the conversations its user is in."""

    user: str
    device: str
    token: str
    conversations: tuple[str, ...]
    username: str = ""


class BadAccounts(Exception):
    """A list of accounts that can't be used."""


_decode = msgspec.json.Decoder(Account).decode


def parse(lines: Iterable[str | bytes]) -> list[Account]:
    """Return the accounts of these JSON lines; other lines are passed over. Raises BadAccounts."""
    accounts = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text[:1] not in ("{", b"{"):
            continue
        try:
            accounts.append(_decode(text))
        except msgspec.DecodeError as error:
            raise BadAccounts(f"line {number} is no account: {error}") from None
    if not accounts:
        raise BadAccounts("no account in it: make some with `manage.py provision`")
    return accounts


def load(path: Path) -> list[Account]:
    """Return the accounts in a file. Raises BadAccounts."""
    try:
        return parse(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError, BadAccounts) as error:
        raise BadAccounts(f"--accounts {path}: {error}") from None
