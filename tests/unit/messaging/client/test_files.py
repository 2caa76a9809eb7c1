"""The form of an upload, and a download that is there when it is whole."""

import hashlib
import io
from email import message_from_bytes
from pathlib import Path
from typing import cast

import pytest

from messaging.client.files import PART_BYTES, Damaged, Form, save, whole

CONTENT = bytes(range(256)) * 2000  # several parts


def parts_of(form: Form) -> tuple[str, str, bytes]:
    """Name, type and content, as another parser reads the form."""
    body = b"".join(form)
    assert len(body) == int(form.headers["Content-Length"])
    head = f"Content-Type: {form.headers['Content-Type']}\r\n\r\n".encode()
    (part,) = message_from_bytes(head + body).get_payload()
    content = cast("bytes", part.get_payload(decode=True))  # type: ignore[union-attr]
    disposition = body.split(b"\r\n")[1].decode()
    return disposition.partition('filename="')[2][:-1], part.get_content_type(), content  # type: ignore[union-attr]


def test_a_form_holds_the_content_whole() -> None:
    assert parts_of(Form.of(CONTENT, name="a.png")) == ("a.png", "image/png", CONTENT)


def test_a_file_of_this_computer_has_a_name_and_a_type(tmp_path: Path) -> None:
    path = tmp_path / "Füße.pdf"
    path.write_bytes(CONTENT)
    assert parts_of(Form.of(path)) == ("Füße.pdf", "application/pdf", CONTENT)
    assert max(map(len, Form.of(path))) == PART_BYTES


def test_a_name_cannot_end_the_header() -> None:
    name, kind, content = parts_of(Form.of(b"x", name='a"\r\nX: y', kind="text/plain"))
    assert (name, kind, content) == ("a%22%0D%0AX: y", "text/plain", b"x")


def test_a_download_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target, digest = tmp_path / "a", hashlib.sha256(CONTENT).hexdigest()
    target.write_bytes(b"before")
    with pytest.raises(Damaged, match="not all of it"):
        save(io.BytesIO(CONTENT[:-1]), target, digest)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
    save(io.BytesIO(CONTENT), target, digest)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [CONTENT]


def test_a_download_in_memory_is_checked_too() -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert whole(io.BytesIO(CONTENT), digest) == CONTENT
    with pytest.raises(Damaged):
        whole(io.BytesIO(CONTENT[:-1]), digest)
