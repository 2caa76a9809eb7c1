"""Writes a history while it happens: one file per process, only appended to.

Laws: recording costs well under a microsecond an event; what is older than a quarter of a second is
in the file, so that a killed rig loses no more; a file that could not be written has no last line
and says so when it is closed. Nothing here looks at what it records.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import msgspec

from messaging.protocol import frames
from perf.history.events import AnyEvent, Change, DeviceMade, Page, RunBegan, RunEnded

FLUSH_S = 0.25
CHUNK = 512  # events encoded at once: 60 microseconds, too short to be seen in any latency
WRITE_BYTES = 1 << 18
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
DEVICES_PER_WORKER = 1_000_000  # device numbers of worker w begin at w million

_encode_lines = msgspec.json.Encoder().encode_lines


def digest(body: str) -> int:
    """What a history keeps of a message's body: the CRC-32 of its UTF-8 text."""
    return zlib.crc32(body.encode())


def envelope(kind: str, reply_to: str | None, files: Sequence[str]) -> int:
    """What it keeps of what the sender says beside the body, and no edit changes: the CRC-32 of the kind, the message that is
    answered and the ids of the files; 0 of a text without them.
    """
    if kind == "text" and not reply_to and not files:
        return 0
    return zlib.crc32(" ".join((kind, reply_to or "", *files)).encode())


def origin(user: str | None, created: int) -> int:
    """What it keeps of who has said it, by the server, and when (ms since the Unix epoch): a CRC-32."""
    return zlib.crc32(f"{user} {created}".encode())


File: TypeAlias = tuple[str, str, int, str, str]
"""A file of a message as it is shown: id, name, size, type and SHA-256."""


def shown_file(file: Mapping[str, Any]) -> File:
    """A file of a message as JSON has it."""
    return file["id"], file["name"], file["size"], file["type"], file["sha256"]


def details(edited: int, deleted: int, files: Sequence[File]) -> int:
    """What it keeps of a message's newest state beside these: when it was edited and deleted (ms, 0: never), and what
    its files are; 0 of one that never changed and has none.
    """
    if not (edited or deleted or files):
        return 0
    return zlib.crc32(repr((edited, deleted, [*files])).encode())


def change(message: frames.Message) -> Change:
    """What a history keeps of a message on the wire."""
    deleted = message.deleted is not None
    return Change(  # by position: names would cost as much again, and there are many
        message.seq,
        message.id,
        message.position,
        message.version,
        message.device,
        message.client_id,
        0 if deleted else digest(message.body),
        deleted,
        envelope(message.kind, message.reply_to, [file.id for file in message.attachments]),
        origin(message.user, message.created),
        details(
            message.edited or 0,
            message.deleted or 0,
            [
                (file.id, file.name, file.size, file.type, file.sha256)
                for file in message.attachments
            ],
        ),
    )


class Recorder:
    """The history of one process of a run, written to a new file at `path`.

    `run` begins every client_id that the run makes. With `full` off, marks are not recorded.
    Raises OSError when the file can't be made, or (at `close`) could not be written.
    """

    def __init__(
        self, path: Path, *, run: str, scenario: str, seed: int, worker: int = 0, full: bool = True
    ) -> None:
        self.path, self.run, self.scenario = path, run, scenario
        self.worker, self.full = worker, full
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: int | None = os.open(path, NEW_FILE, 0o644)
        self._events: list[AnyEvent] = []
        self._lines = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._devices = self._pages = 0
        self._error: OSError | None = None
        self.record(
            RunBegan(t=self.now(), run=run, scenario=scenario, seed=seed, worker=worker, full=full)
        )

    @staticmethod
    def now() -> int:
        """The moment, in nanoseconds of the clock that every process of this machine shares."""
        return time.monotonic_ns()

    def record(self, event: AnyEvent) -> None:
        """Take down an event; it is in the file within FLUSH_S (at once outside an event loop)."""
        events = self._events
        events.append(event)
        if len(events) >= CHUNK:
            self._encode()
        if self._timer is None:
            self._wind()

    def device(self, *, id: str, user: str) -> int:  # noqa: A002 - the field's name
        """Take down a new device; return its number, unique over all files of the run."""
        self._devices += 1
        number = self.worker * DEVICES_PER_WORKER + self._devices
        self.record(DeviceMade(t=self.now(), device=number, id=id, user=user))
        return number

    def page(
        self, conversation: str, since: int, upto: int, messages: Sequence[frames.Message]
    ) -> int:
        """Take down the content of a frame of changes; return the number that deliveries name it by.

        It is written as often as this is called: `wire.Pages` calls once per distinct frame.
        """
        self._pages += 1
        changes = tuple([change(message) for message in messages])
        self.record(Page(self.now(), self._pages, conversation, since, upto, changes))
        return self._pages

    def flush(self) -> None:
        """Hand everything so far to the operating system."""
        self._timer = None
        self._encode()
        self._write()

    def close(self, reason: str = "done") -> None:
        """Write the last line and close the file; further calls do nothing. Raises OSError."""
        if self._file is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._events.append(RunEnded(t=self.now(), reason=reason))
        self.flush()
        os.close(self._file)
        self._file = None
        if self._error is not None:
            reason = self._error.strerror or str(self._error)
            raise OSError(f"the history {self.path} is not whole: {reason}. Make room and repeat.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close("done" if kind is None else kind.__name__)

    def _wind(self) -> None:
        """Have the flush come by itself."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        self._timer = loop.call_later(FLUSH_S, self.flush)

    def _encode(self) -> None:
        if self._events:
            self._lines += _encode_lines(self._events)
            self._events.clear()
        if len(self._lines) >= WRITE_BYTES:
            self._write()

    def _write(self) -> None:
        """Write the lines. After a failure nothing more is written: the file ends with whole events."""
        while self._lines and self._error is None and self._file is not None:
            try:
                written = os.write(self._file, self._lines)
            except OSError as error:
                self._error = error
            else:
                del self._lines[:written]
        self._lines.clear()
