"""What a file is: its first bytes tell; what its sender says counts only where those tell nothing.

A browser believes `Content-Type`, so a page must never pass as an image. The signatures are those of
the formats' own specifications, as the WHATWG's MIME Sniffing Standard collects them.
"""

from collections.abc import Collection
from typing import NamedTuple

UNKNOWN = "application/octet-stream"
HEAD_BYTES = 16  # as far as the signatures look

SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser may show in its place, because only real images get these types."""


class Signature(NamedTuple):
    """Bytes at fixed places. In a `container` lies something more special, such as a document in a zip."""

    type: str
    places: tuple[tuple[int, bytes], ...]
    container: bool = False

    def fits(self, head: bytes) -> bool:
        """Whether a file that begins so is of this type."""
        return all(head[at : at + len(part)] == part for at, part in self.places)


SIGNATURES = (
    Signature("image/png", ((0, b"\x89PNG\r\n\x1a\n"),)),
    Signature("image/jpeg", ((0, b"\xff\xd8\xff"),)),
    Signature("image/gif", ((0, b"GIF87a"),)),
    Signature("image/gif", ((0, b"GIF89a"),)),
    Signature("image/webp", ((0, b"RIFF"), (8, b"WEBP"))),
    Signature("audio/wav", ((0, b"RIFF"), (8, b"WAVE"))),
    Signature("application/pdf", ((0, b"%PDF-"),)),
    Signature("application/gzip", ((0, b"\x1f\x8b\x08"),)),
    Signature("audio/mpeg", ((0, b"ID3"),)),
    Signature("audio/flac", ((0, b"fLaC"),)),
    Signature("application/zip", ((0, b"PK\x03\x04"),), container=True),
    Signature("video/mp4", ((4, b"ftyp"),), container=True),
    Signature("video/webm", ((0, b"\x1a\x45\xdf\xa3"),), container=True),
    Signature("audio/ogg", ((0, b"OggS"),), container=True),
)
TOLD = frozenset(signature.type for signature in SIGNATURES)


def kind_of(head: bytes, declared: str, believed: Collection[str]) -> str:
    """The MIME type of a file that begins with `head` and whose sender says `declared`."""
    declared = declared.partition(";")[0].strip().lower()
    credible = declared in believed and declared not in TOLD
    found = next((signature for signature in SIGNATURES if signature.fits(head)), None)
    if found is not None and not (found.container and credible):
        return found.type
    return declared if credible else UNKNOWN
