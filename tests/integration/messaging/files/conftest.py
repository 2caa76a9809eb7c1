"""Uploads without a request."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from messaging.files import contents
from messaging.files.intake import Intake
from messaging.files.kinds import kind_of
from messaging.models import Attachment
from presence.models import Device

Keep = Callable[..., Attachment]


def taken(content: bytes) -> Intake:
    """An upload that is complete."""
    intake = Intake(most=1_000_000)
    intake.new_file("file", "a.bin", "application/octet-stream", len(content))
    whole = io.BytesIO(content)
    at = 0
    while part := whole.read(1000):
        intake.receive_data_chunk(part, at)
        at += len(part)
    intake.file_complete(at)
    return intake


@pytest.fixture
def keep(shelf: Path, world: Any) -> Keep:
    """Keep a content as an upload of Ann's device."""

    def keep(
        content: bytes, *, device: Device | None = None, name: str = "a.bin", most: int = 100
    ) -> Attachment:
        intake = taken(content)
        assert intake.file is not None
        with intake.file:
            kind = kind_of(intake.head, "", ())
            return contents.keep(
                intake, device=device or world.device, name=name, kind=kind, most=most
            )

    return keep


def stored(shelf: Path) -> dict[str, bytes]:
    """What the storage has, by place."""
    files = (path for path in shelf.rglob("*") if path.is_file())
    return {str(path.relative_to(shelf)): path.read_bytes() for path in files}
