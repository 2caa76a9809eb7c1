"""What a file is: a liar is not believed."""

import pytest

from messaging.conf import FILE_TYPES
from messaging.files.kinds import HEAD_BYTES, SHOWN, SIGNATURES, UNKNOWN, kind_of

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
ZIP = b"PK\x03\x04\x14\x00\x06\x00"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (ZIP, "application/zip"),
        (b"\x00\x00\x00\x18ftypisom", "video/mp4"),
        (b"RIFF\x24\x00\x00\x00AVI LIST", UNKNOWN),
        (b"", UNKNOWN),
    ],
    ids=str,
)
def test_the_first_bytes_tell(head: bytes, kind: str) -> None:
    assert kind_of(head, "", FILE_TYPES) == kind


@pytest.mark.parametrize("declared", ["image/png", "image/svg+xml", "text/html", "text/plain"])
def test_a_png_is_a_png_whatever_its_sender_says(declared: str) -> None:
    assert kind_of(PNG, declared, FILE_TYPES) == "image/png"


@pytest.mark.parametrize("declared", sorted(SHOWN))
def test_what_a_browser_may_show_is_never_taken_from_the_sender(declared: str) -> None:
    assert kind_of(b"<script>alert(1)</script>", declared, [*FILE_TYPES, declared]) == UNKNOWN


@pytest.mark.parametrize("declared", ["text/html", "image/svg+xml", "application/javascript", ""])
def test_a_type_that_nobody_listed_is_not_believed(declared: str) -> None:
    assert kind_of(b"<html>", declared, FILE_TYPES) == UNKNOWN


def test_a_listed_type_is_believed_where_the_bytes_tell_nothing() -> None:
    assert kind_of(b"a,b\n1,2\n", "text/CSV; charset=utf-8", FILE_TYPES) == "text/csv"


def test_a_document_in_a_zip_is_the_document_it_says() -> None:
    assert kind_of(ZIP, DOCX, FILE_TYPES) == DOCX
    assert kind_of(ZIP, "text/html", FILE_TYPES) == "application/zip"


def test_the_signatures_lie_within_the_bytes_that_are_looked_at() -> None:
    assert max(at + len(part) for it in SIGNATURES for at, part in it.places) <= HEAD_BYTES
