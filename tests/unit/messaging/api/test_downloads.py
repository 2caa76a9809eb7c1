"""Which bytes of a file a request wants, and what is said of a file besides its bytes."""

from io import BytesIO

import pytest
from django.http import HttpResponse

from messaging.api import downloads
from messaging.api.downloads import PART_BYTES, Parts, headers_of, wanted_of
from messaging.api.refusals import Declined
from messaging.models import Attachment

FILE = Attachment(name="a.bin", size=100, type="application/octet-stream", sha256="ab" * 32)
TAG = f'"{FILE.sha256}"'


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("", range(100)),
        ("bytes=0-9", range(10)),
        ("bytes=90-", range(90, 100)),
        ("bytes=-10", range(90, 100)),
        ("bytes=-1000", range(100)),
        ("bytes=90-1000", range(90, 100)),
        ("bytes=0-99", range(100)),
        ("bytes=9-0", range(100)),
        ("bytes=-", range(100)),
        ("bytes=0-1,5-6", range(100)),
        ("lines=0-9", range(100)),
        ("bytes=a-b", range(100)),
        (f"bytes={'9' * 19}-", range(100)),
    ],
)
def test_one_range_is_understood_and_anything_else_is_the_whole_file(
    asked: str, wanted: range
) -> None:
    assert wanted_of(FILE, {"Range": asked}) == wanted


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(asked: str) -> None:
    with pytest.raises(Declined, match=r"no such bytes: it has 100\.$"):
        wanted_of(FILE, {"Range": asked})


def test_a_range_of_another_content_is_the_whole_file() -> None:
    assert wanted_of(FILE, {"Range": "bytes=0-9", "If-Range": TAG}) == range(10)
    assert wanted_of(FILE, {"Range": "bytes=0-9", "If-Range": '"other"'}) == range(100)


@pytest.mark.parametrize("go_on", [0, 1, 2])
async def test_a_file_is_given_for_as_long_as_it_may_go_on(
    go_on: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "LOOK_S", 0.0)
    answers = iter([True] * go_on + [False])
    parts = Parts(BytesIO(bytes(9 * PART_BYTES)), range(9 * PART_BYTES), lambda: next(answers))
    assert [len(part) async for part in parts] == [PART_BYTES] * go_on


def test_a_file_without_bytes_is_whole() -> None:
    empty = Attachment(name="empty", size=0, sha256="cd" * 32)
    assert wanted_of(empty, {}) == range(0)


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: b", "a\x00b", "\x7f", ""])
def test_what_sql_may_have_written_makes_no_header_of_its_own(name: str) -> None:
    headers = headers_of(Attachment(name=name, type=f"text/plain{name}\n", sha256="ab" * 32))
    assert HttpResponse(headers=headers).headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("kind", "how"),
    [("image/png", "inline"), ("text/plain", "attachment"), ("application/pdf", "attachment")],
)
def test_only_images_are_shown_and_nothing_is_sniffed_or_run(kind: str, how: str) -> None:
    headers = headers_of(Attachment(name='Ä"\r\nX: y.png', type=kind, sha256="ab" * 32))
    assert headers["Content-Disposition"].startswith(how)
    assert not set("\r\n") & set(headers["Content-Disposition"])
    assert headers["Content-Type"] == kind
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Cache-Control"] == "private, no-cache"
