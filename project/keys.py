"""The secret key: made on the first run, kept in a file that only its owner can read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from project.errors import ServiceError


def secret_key(path: Path) -> str:
    """Return the key in `path`; make it first when there is none.

    Two processes that start at once agree: the file appears whole, and the first one wins.
    """
    try:
        key = path.read_text() if path.exists() else _make(path)
    except OSError as error:
        raise ServiceError(
            f"Can't read or make {path} ({error.strerror}): set SECRET_KEY, "
            f"or give this user access to {path.parent}."
        ) from None
    if not key.strip():  # Django would say so at the first log-in
        raise ServiceError(f"{path} is empty: remove it, and a new key is made, or set SECRET_KEY.")
    return key


def _make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by the process's number: two containers with the same one may share the directory.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            os.fsync(file.fileno())  # a name that survives a loss of power has its key
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path.read_text()
