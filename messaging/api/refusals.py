"""What the REST API answers when it refuses: a code, a sentence, a status, always JSON.

The codes are those of the wire (`protocol.errors`); `Problem` adds what only HTTP can meet.
Which exception becomes which refusal is in `handlers`.
"""

import enum
from http import HTTPStatus
from typing import Any

import msgspec
from django.http import HttpResponse, JsonResponse
from pydantic import Field

from messaging import metrics
from messaging.api.values import Shown
from messaging.protocol.errors import LockstepError, Refusal
from messaging.protocol.frames import Error, Message

STATUS = {
    Refusal.BAD_FRAME: HTTPStatus.BAD_REQUEST,
    Refusal.UNKNOWN_TYPE: HTTPStatus.BAD_REQUEST,
    Refusal.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Refusal.INVALID_BODY: HTTPStatus.UNPROCESSABLE_ENTITY,
    Refusal.NOT_READY: HTTPStatus.CONFLICT,
    Refusal.ALREADY_OPEN: HTTPStatus.CONFLICT,
    Refusal.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    Refusal.REVOKED: HTTPStatus.UNAUTHORIZED,
    Refusal.NO_SUCH_CONVERSATION: HTTPStatus.NOT_FOUND,
    Refusal.NO_SUCH_MESSAGE: HTTPStatus.NOT_FOUND,
    Refusal.NO_SUCH_ATTACHMENT: HTTPStatus.NOT_FOUND,
    Refusal.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Refusal.CLIENT_ID_REUSED: HTTPStatus.CONFLICT,
    Refusal.CONFLICT: HTTPStatus.CONFLICT,
    Refusal.CURSOR_AHEAD: HTTPStatus.CONFLICT,
    Refusal.AFTER_REFUSED: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.OVERLOADED: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.DATABASE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.SHUTTING_DOWN: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.STORAGE_REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
}

# The statuses that every route documents.
REFUSED = frozenset({400, 401, 403, 404, 409, 413, 422, 429, 503})


class Problem(enum.Enum):
    """Refusals that only HTTP knows; `code` is the name in lower case. None had an effect."""

    INVALID_REQUEST = "The request is not valid: {detail}.", HTTPStatus.UNPROCESSABLE_ENTITY
    WRONG_PASSWORD = "The user name or the password is wrong.", HTTPStatus.UNAUTHORIZED
    NOT_ALLOWED = "This is not yours to do: {detail}.", HTTPStatus.FORBIDDEN
    NO_SUCH_ROUTE = "There is nothing at {detail}; see /api/docs.", HTTPStatus.NOT_FOUND
    NO_SUCH_USER = "There is no user {detail}; look at /api/users?search=.", HTTPStatus.NOT_FOUND
    NO_SUCH_MEMBER = "This user is not a member of the conversation.", HTTPStatus.NOT_FOUND
    NO_SUCH_DEVICE = "There is no such device among yours.", HTTPStatus.NOT_FOUND
    NO_SUCH_LINK_CODE = (
        "This code links nothing: it is mistyped, used or over two minutes old; get a new one.",
        HTTPStatus.NOT_FOUND,
    )
    FILE_TOO_LARGE = "{detail}", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    TOO_SLOW = (
        "Nothing of the request's body came for {detail} s; send it again.",
        HTTPStatus.REQUEST_TIMEOUT,
    )
    TOO_MANY_FILES = (
        "You have {detail} uploads that no message has taken; send them, or wait until they go.",
        HTTPStatus.TOO_MANY_REQUESTS,
    )
    FILE_TYPE = (
        "Files of type {detail} are not taken here; file_types in the settings says which are.",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    )
    FILES_UNAVAILABLE = (
        "The storage of files does not work now; try again later, or ask who runs this server.",
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    NO_SUCH_RANGE = (
        "The file has no such bytes: {detail}.",
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    )
    METHOD_NOT_ALLOWED = "This route takes only {detail}.", HTTPStatus.METHOD_NOT_ALLOWED
    INTERNAL = (
        "The server met an error of its own; nothing acknowledged is lost.",
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )

    @property
    def code(self) -> str:
        """The name in the answer."""
        return self.name.lower()

    @property
    def status(self) -> HTTPStatus:
        """The status of the answer."""
        return self.value[1]

    def text(self, detail: object = "") -> str:
        """The sentence for people."""
        return self.value[0].format(detail=detail)


class Declined(LockstepError):
    """A request that is declined for a `Problem`."""

    def __init__(self, problem: Problem, detail: object = "") -> None:
        self.problem, self.detail = problem, detail

    def __str__(self) -> str:
        return self.problem.text(self.detail)


def _codes() -> str:
    """All codes, by their usual status, for whoever writes a client."""
    every = [(status, one.code) for one, status in STATUS.items()]
    every += [(one.status, one.code) for one in Problem]
    found: dict[HTTPStatus, list[str]] = {}
    for status, code in every:
        found.setdefault(status, []).append(f"`{code}`")
    return "; ".join(f"{status:d}: {', '.join(found[status])}" for status in sorted(found))


class RefusalOut(Shown):
    """Why a request was refused. One with `retry_after` may be repeated then, unchanged; so may, after a while, what was answered with 408 or from 500 on, or not by this server."""

    code: str = Field(description=f"{_codes()}.")
    message: str
    retry_after: int | None = Field(None, description="Milliseconds; also the header Retry-After.")
    definite: bool = Field(
        default=True, description="False if it may have had an effect; else left out."
    )
    current: dict[str, Any] | None = Field(None, description="The message as it is, on a conflict.")


def refuse(
    refusal: Refusal,
    text: str = "",
    *,
    retry_after: int | None = None,
    current: Message | None = None,
    definite: bool = True,
) -> HttpResponse:
    """The answer for a refusal of the wire, with a sentence and a wait (ms) of its own if given."""
    error = Error(
        code=refusal.code,
        message=text or refusal.text(),
        definite=refusal.definite and definite,
        retry_after=retry_after or refusal.retry_after,
        current=current,
    )
    return _answer(error, STATUS[refusal])


def decline(
    problem: Problem, detail: object = "", *, status: HTTPStatus | None = None
) -> HttpResponse:
    """The answer for a problem of HTTP."""
    return _answer(Error(code=problem.code, message=problem.text(detail)), status or problem.status)


def _answer(error: Error, status: HTTPStatus) -> HttpResponse:
    metrics.refusals.labels(error.code, "rest").inc()
    shown = msgspec.to_builtins(error)
    del shown["type"]
    response = JsonResponse(shown, status=status)
    if error.retry_after is not None:
        response["Retry-After"] = -(-error.retry_after // 1000)  # the header knows whole seconds
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    return response
