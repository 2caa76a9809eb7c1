"""Files on their way to and from a server: in parts, so that memory holds one of them.

The form of an upload is RFC 7578's. A download is in its place when it is whole, and not before.
"""

from __future__ import annotations

import hashlib
import io
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from uuid import uuid4

PART_BYTES = 262_144


class Damaged(Exception):
    """What came is not what was promised."""

    def __str__(self) -> str:
        return "The content that came is not the file's, or not all of it; fetch it again."


class Answer(Protocol):
    """A body that can be read in parts."""

    def read(self, size: int, /) -> bytes:
        """The next bytes; none at the end."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The body of an upload. Iterate it once."""

    source: bytes | Path
    name: str
    type: str
    boundary: str

    @classmethod
    def of(cls, source: bytes | Path, *, name: str = "", kind: str = "") -> Form:
        """The form for a content, or for a file of this computer, which has a name and perhaps a known type."""
        name = name or (source.name if isinstance(source, Path) else "file")
        kind = kind or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return cls(source=source, name=name, type=kind, boundary=uuid4().hex)

    @property
    def headers(self) -> dict[str, str]:
        """What the request says of it. Raises OSError."""
        size = self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)
        return {
            "Content-Type": f"multipart/form-data; boundary={self.boundary}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }

    @property
    def _head(self) -> bytes:
        name = self.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
        return f"--{self.boundary}\r\n{disposition}\r\nContent-Type: {self.type}\r\n\r\n".encode()

    @property
    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        with self._open() as file:
            while part := file.read(PART_BYTES):
                yield part
        yield self._tail

    def _open(self) -> IO[bytes]:
        return self.source.open("rb") if isinstance(self.source, Path) else io.BytesIO(self.source)


def save(answer: Answer, target: Path, digest: str) -> None:
    """Write a download to `target` when all of it has come. Raises OSError, `Damaged`."""
    draft = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    found = hashlib.sha256()
    try:
        with draft.open("xb") as writing:
            while part := answer.read(PART_BYTES):
                found.update(part)
                writing.write(part)
        check(found.hexdigest(), digest)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def whole(answer: Answer, digest: str) -> bytes:
    """A download in memory. Raises OSError, `Damaged`."""
    content = b"".join(iter(lambda: answer.read(PART_BYTES), b""))
    check(hashlib.sha256(content).hexdigest(), digest)
    return content


def check(found: str, digest: str) -> None:
    """Raise `Damaged` if what came has not the digest that was promised."""
    if found != digest:
        raise Damaged
