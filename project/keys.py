"""The secret key: made on the first run, kept in a file that only its owner can read."""

import os
import secrets
from pathlib import Path

from project.errors import ServiceError


def secret_key(path: Path) -> str:
    """Return the key in `path`; make it first when there is none.

    Two processes that start at once agree: the file appears whole, and the first one wins.
    """
    try:
        return path.read_text() if path.exists() else _make(path)
    except OSError as error:
        raise ServiceError(
            f"Can't read or make {path} ({error.strerror}): set SECRET_KEY, "
            f"or give this user access to {path.parent}."
        ) from None


def _make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not by the process's number: two containers with the same one may share the directory.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(50))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text()
