"""Takes the file of an upload into a nameless temporary file, hashed and measured on the way.

Nameless: whatever ends the request or the process, nothing is left. Memory holds one chunk of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from messaging.files.kinds import HEAD_BYTES
from messaging.protocol import LockstepError


class FileTooLarge(LockstepError):
    """A file that has more bytes than one may have."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __str__(self) -> str:
        return f"A file has at most {self.most} bytes; split it, or share it in another way."


class SeveralFiles(LockstepError):
    """A second file in one upload."""

    def __str__(self) -> str:
        return "An upload has one file; send each with a request of its own."


class Intake(FileUploadHandler):
    """The upload handler of one request. Raises `FileTooLarge` or `SeveralFiles` while Django parses."""

    def __init__(self, *, most: int) -> None:
        super().__init__()
        self.size, self.head = 0, b""
        self.file: IO[bytes] | None = None
        self._most, self._digest = most, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The digest of the content, in hex."""
        return self._digest.hexdigest()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """A part with a file begins."""
        super().new_file(*args, **kwargs)
        if self.file is not None:
            raise SeveralFiles
        self.file = tempfile.TemporaryFile(  # noqa: SIM115 - closed by `close`
            dir=settings.FILE_UPLOAD_TEMP_DIR
        )

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Take the next bytes of it."""
        assert self.file is not None
        self.size += len(raw_data)
        if self.size > self._most:
            raise FileTooLarge(self._most)
        if start < HEAD_BYTES:
            self.head += raw_data[: HEAD_BYTES - len(self.head)]
        self._digest.update(raw_data)
        self.file.write(raw_data)

    def close(self) -> None:
        """Let the temporary file go, whatever became of the upload."""
        if self.file is not None:
            self.file.close()

    def file_complete(self, file_size: int) -> UploadedFile[bytes]:
        """It is all there."""
        assert self.file is not None
        self.file.seek(0)
        return UploadedFile(
            file=self.file, name=self.file_name, content_type=self.content_type, size=file_size
        )
