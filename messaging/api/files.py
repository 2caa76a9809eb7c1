"""Files: uploaded by a device, then taken along by a message, then fetched by who may read that message.

Until a message has it, an upload is its user's alone. With the message's deletion it is gone for all.
What is kept, and how, is in `messaging.files`.
"""

import logging
from contextlib import closing
from typing import Any
from uuid import UUID

from django.core.exceptions import TooManyFieldsSent, TooManyFilesSent
from django.db import DatabaseError, connection
from django.http import HttpResponse
from django.http.multipartparser import MultiPartParserError
from ninja import Router, Status

from messaging import conf
from messaging.api.access import present_in, readable
from messaging.api.auth import DeviceRequest
from messaging.api.downloads import MayGoOn, download, headers_of
from messaging.api.refusals import REFUSED, Declined, Problem, RefusalOut
from messaging.api.values import AttachmentOut, storable
from messaging.files import contents
from messaging.files.intake import FileTooLarge, Intake, SeveralFiles
from messaging.files.kinds import UNKNOWN, kind_of
from messaging.models import Attachment, Message
from messaging.protocol.errors import Refusal, Refused
from presence.database import let_go
from presence.tokens import is_admitted

logger = logging.getLogger(__name__)

router = Router(tags=["files"])

UNREADABLE = (MultiPartParserError, TooManyFilesSent, TooManyFieldsSent, SeveralFiles)
HOW = "the body is multipart/form-data with one part named `file`, which has a file name"
PART = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}},
}
FETCH = {
    f"{method}_file": {
        "operationRef": f"#/paths/~1api~1files~1{{file}}/{method}",
        "parameters": {"file": "$response.body#/id"},
    }
    for method in ("get", "head")
}
UPLOAD: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": PART}}},
    "responses": {201: {"links": FETCH}},
}
CONTENT = {"schema": {"type": "string", "format": "binary"}}
DOWNLOAD: dict[str, Any] = {
    "responses": {
        200: {"description": "The content.", "content": {"*/*": CONTENT}},
        206: {"description": "The range that was asked for.", "content": {"*/*": CONTENT}},
        304: {"description": "You have it: `If-None-Match` names its ETag."},
    }
}


@router.post(
    "/files",
    response={201: AttachmentOut, REFUSED | {415}: RefusalOut},
    openapi_extra=UPLOAD,
)
def upload_file(request: DeviceRequest) -> Status[AttachmentOut]:
    """Upload a file: `multipart/form-data`, one part `file`. Then name its id in a message's `attachments`; without one it goes after a day."""
    settings = conf.current()
    try:
        contents.refuse_beyond(settings.files_waiting, request.auth.user_id)  # before it is read
        let_go()  # who takes a file in, and waits for a turn, needs none
        with closing(Intake(most=settings.file_bytes)) as intake:
            return Status(201, _shown(_kept(request, intake, *_receive(request, intake))))
    except contents.TooManyWaiting as error:
        raise Declined(Problem.TOO_MANY_FILES, error.most) from None


def _kept(request: DeviceRequest, intake: Intake, name: str, declared: str) -> Attachment:
    """Keep what the intake holds. Raises Declined, Refused or TooManyWaiting."""
    settings = conf.current()
    kind = kind_of(intake.head, declared, settings.file_types)
    if settings.only_file_types and kind == UNKNOWN:
        raise Declined(Problem.FILE_TYPE, declared or kind)
    try:
        return contents.keep(
            intake, device=request.auth, name=name, kind=kind, most=settings.files_waiting
        )
    except OSError:
        logger.exception("a file can't be stored")
        raise Declined(Problem.FILES_UNAVAILABLE) from None


def _receive(request: DeviceRequest, intake: Intake) -> tuple[str, str]:
    """Parse the body into the intake. Returns the file's name, and its type as its sender says. Raises Declined."""
    if request.content_type != "multipart/form-data":
        raise Declined(Problem.INVALID_REQUEST, HOW)
    request.upload_handlers = [intake]
    try:
        uploaded = request.FILES.get("file")
        name = storable(uploaded.name or "") if uploaded else ""
    except FileTooLarge as error:
        raise Declined(Problem.FILE_TOO_LARGE, error) from None
    except UNREADABLE as error:
        raise Declined(Problem.INVALID_REQUEST, str(error).rstrip(".")) from None
    except ValueError as error:
        raise Declined(Problem.INVALID_REQUEST, f"the file's name: {error}") from None
    except OSError:
        logger.exception("an upload can't be kept while it comes")
        raise Declined(Problem.FILES_UNAVAILABLE) from None
    if uploaded is None:
        raise Declined(Problem.INVALID_REQUEST, HOW)
    return name, uploaded.content_type or ""


@router.api_operation(
    ["GET", "HEAD"],
    "/files/{file}",
    response={REFUSED | {416}: RefusalOut},
    openapi_extra=DOWNLOAD,
)
def fetch_file(request: DeviceRequest, file: UUID) -> HttpResponse:
    """Fetch a file of a message that you may read, or an upload of yours. `Range` and `If-None-Match` are understood."""
    attachment = _visible(request, file)
    if request.method == "HEAD":
        length = {"Content-Length": str(attachment.size)}
        return HttpResponse(headers=headers_of(attachment) | length)
    let_go()  # the storage may be far away
    try:
        with contents.reaching() as shelf:
            content = shelf.open(attachment.file)
    except OSError:
        logger.exception("the content of file %s can't be read", file)
        raise Declined(Problem.FILES_UNAVAILABLE) from None
    return download(attachment, content, request.headers, may_go_on=_look_again(request, file))


def _look_again(request: DeviceRequest, file: UUID) -> MayGoOn:
    """Whether the device still may see the file, asked in a thread of its own: a reader may take hours."""

    def look() -> bool:
        try:
            if not is_admitted(request.auth):
                return False
            _visible(request, file)
        except (Refused, DatabaseError):  # who can't ask, does not know
            return False
        finally:
            connection.close()
        return True

    return look


def _visible(request: DeviceRequest, file: UUID) -> Attachment:
    """Return a file that the user may see. Raises Refused, the same whatever the reason."""
    found = Attachment.objects.select_related("message", "device").filter(pk=file).first()
    if found is None or not _may_see(request, found):
        raise Refused(Refusal.NO_SUCH_ATTACHMENT, "none of yours, and none of your conversations")
    return found


def _may_see(request: DeviceRequest, attachment: Attachment) -> bool:
    message = attachment.message
    if message is not None and message.deleted is not None:
        return False
    if attachment.device.user_id == request.auth.user_id:
        return True
    if message is None:
        return False
    try:
        stay = present_in(message.conversation_id, request)
    except Refused:
        return False
    return Message.objects.filter(readable(stay), pk=message.pk).exists()


def _shown(attachment: Attachment) -> AttachmentOut:
    return AttachmentOut(
        id=str(attachment.pk),
        name=attachment.name,
        size=attachment.size,
        type=attachment.type,
        sha256=attachment.sha256,
    )
