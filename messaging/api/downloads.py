"""The answer that carries a file: in parts, so that memory holds one of them, and never as a page of ours.

Whatever was uploaded, a browser shows only images that begin as such; everything else it saves. The
content of an id never changes, so its digest is its entity tag; who may see it can change, so a
browser asks each time, and an answer that takes long ends once it may not go on. Ranges are those of
RFC 9110, section 14, one at a time.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from time import monotonic
from typing import IO, Any

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header, parse_etags

from messaging.api.refusals import Declined, Problem, decline
from messaging.files.kinds import SHOWN, UNKNOWN
from messaging.models import Attachment

PART_BYTES = 262_144  # of one read and one write; each read costs a turn of a thread

LOOK_S = (
    1.0  # between two looks whether the file may still be seen: what G8 ends, goes on no longer
)

MayGoOn = Callable[[], bool]

_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


class Parts:
    """Some bytes of an open file, read by a thread when the client takes them, as long as it `may_go_on`."""

    def __init__(self, file: IO[bytes], wanted: range, may_go_on: MayGoOn) -> None:
        self._file, self._wanted, self._may_go_on = file, wanted, may_go_on

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts in order; fewer bytes than promised if the storage has lost some, or it may not go on."""
        await asyncio.to_thread(self._file.seek, self._wanted.start)
        left, looked = len(self._wanted), monotonic()
        while left and (part := await asyncio.to_thread(self._file.read, min(left, PART_BYTES))):
            if monotonic() - looked >= LOOK_S:
                if not await asyncio.to_thread(self._may_go_on):
                    return
                looked = monotonic()
            left -= len(part)
            yield part

    def close(self) -> None:
        """Called by Django when the answer is over, however it ended."""
        self._file.close()


def download(
    attachment: Attachment, file: IO[bytes], asked: Mapping[str, str], *, may_go_on: MayGoOn
) -> HttpResponse:
    """The answer to a GET with these headers; `file` is closed with it."""
    headers = headers_of(attachment)
    if _has_it(attachment, asked):
        file.close()
        return HttpResponse(status=304, headers=headers)
    try:
        wanted = wanted_of(attachment, asked)
    except Declined as error:  # who goes on with a download learns that it was all there
        file.close()
        refusal = decline(error.problem, error.detail)
        refusal["Content-Range"] = f"bytes */{attachment.size}"
        return refusal
    whole = range(attachment.size)
    if wanted != whole:
        headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{attachment.size}"
    headers["Content-Length"] = str(len(wanted))
    response: Any = StreamingHttpResponse(
        Parts(file, wanted, may_go_on), status=200 if wanted == whole else 206, headers=headers
    )
    return response  # type: ignore[no-any-return]  # no HttpResponse by type, but as good as one


def headers_of(attachment: Attachment) -> dict[str, str]:
    """What is said of a file besides its bytes."""
    shown = attachment.type in SHOWN
    name = "".join(c if c.isprintable() else "_" for c in attachment.name)  # SQL may give it any
    return {
        "Content-Type": attachment.type if _TYPE.fullmatch(attachment.type) else UNKNOWN,
        "Content-Disposition": content_disposition_header(not shown, name) or "inline",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
        "ETag": f'"{attachment.sha256}"',
        "Accept-Ranges": "bytes",
    }


def wanted_of(attachment: Attachment, asked: Mapping[str, str]) -> range:
    """The bytes that the headers ask for: all of them unless one range is asked. Raises Declined if it has none of them."""
    size = attachment.size
    found = _RANGE.fullmatch(asked.get("Range", "").strip())
    if found is None or found.group() == "bytes=-" or not _is_current(attachment, asked):
        return range(size)
    first, last = (None if part is None else int(part) for part in found.groups())
    if first is None:  # the last so many
        start, stop = max(size - (last or 0), 0), size
    else:
        start, stop = first, size if last is None else min(last + 1, size)
        if last is not None and last < first:
            return range(size)  # no range at all: to be ignored
    if start >= stop:
        raise Declined(Problem.NO_SUCH_RANGE, f"it has {size}")
    return range(start, stop)


def _has_it(attachment: Attachment, asked: Mapping[str, str]) -> bool:
    """Whether the client has the content already."""
    tags = parse_etags(asked.get("If-None-Match", ""))
    known = {tag.removeprefix("W/") for tag in tags}
    return "*" in known or f'"{attachment.sha256}"' in known


def _is_current(attachment: Attachment, asked: Mapping[str, str]) -> bool:
    """Whether a range of what the client has is one of what we have."""
    return asked.get("If-Range", "").strip() in ("", f'"{attachment.sha256}"')
