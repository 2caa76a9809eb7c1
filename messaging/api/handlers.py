"""Which exception becomes which refusal. Nothing leaves the API as a page or a stack trace."""

import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any

import psycopg
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.core.signals import got_request_exception
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from psycopg.errors import ReadOnlySqlTransaction

from messaging.api.refusals import Declined, Problem, decline, refuse
from messaging.protocol.errors import Refusal, Refused
from messaging.protocol.frames import MAX_FRAME_BYTES
from presence.attempts import TooMany
from presence.tokens import DeviceRevoked, TokenReplaced, UserGone

logger = logging.getLogger(__name__)

# Deadlock, serialization failure, lock not available: another transaction goes first.
OTHERS_FIRST = {"40P01", "40001", "55P03"}
_LOCKED = "What this needs is locked by another transaction; the request was not taken."
# A former primary answers, too: it takes no writes, which is no fault of the request.
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, ReadOnlySqlTransaction)


def install(api: NinjaAPI) -> None:
    """Make the API answer every exception with a refusal."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        Refused: _refused,
        Declined: lambda _, error: decline(error.problem, error.detail),
        TooMany: _too_many,
        DeviceRevoked: lambda _, error: refuse(Refusal.REVOKED, str(error)),
        UserGone: lambda _, error: refuse(Refusal.UNAUTHORIZED, str(error)),
        TokenReplaced: lambda _, error: refuse(Refusal.UNAUTHORIZED, str(error)),
        AuthenticationError: lambda _, error: refuse(Refusal.UNAUTHORIZED, _HOW_TO_AUTHENTICATE),
        ValidationError: _invalid,
        HttpError: _unreadable,
        RequestDataTooBig: _too_large,
        TooManyFieldsSent: lambda *_: decline(Problem.INVALID_REQUEST, "too many parameters"),
        DatabaseError: _database,
        InterfaceError: _database,
        psycopg.Error: _database,
        Exception: _internal,
    }
    for exception, handler in handlers.items():
        api.add_exception_handler(exception, handler)


@csrf_exempt  # as every route here: nothing is done for a cookie
def no_such_route(request: HttpRequest) -> HttpResponse:
    """The view of every path under /api/ that is no route."""
    return decline(Problem.NO_SUCH_ROUTE, request.path)


def with_json_405(view: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a view of ninja, whose own answer to a wrong method is plain text."""

    @wraps(view)
    async def in_loop(*args: Any, **kwargs: Any) -> HttpResponse:
        return _spoken(await view(*args, **kwargs))

    @wraps(view)
    def in_thread(*args: Any, **kwargs: Any) -> HttpResponse:
        return _spoken(view(*args, **kwargs))

    return in_loop if iscoroutinefunction(view) else in_thread


def _spoken(response: HttpResponse) -> HttpResponse:
    if not isinstance(response, HttpResponseNotAllowed):
        return response
    allowed = ", ".join(sorted(response["Allow"].split(", ")))
    refusal = decline(Problem.METHOD_NOT_ALLOWED, allowed)
    refusal["Allow"] = allowed
    return refusal


_HOW_TO_AUTHENTICATE = (
    "Send the header `Authorization: Bearer <token>`, "
    "or `Authorization: Login <value of /api/login>` to register a device."
)


def _refused(_: HttpRequest, error: Refused) -> HttpResponse:
    return refuse(
        error.refusal,
        str(error),
        retry_after=error.retry_after,
        current=error.current,
        definite=error.definite,
    )


def _too_many(_: HttpRequest, error: TooMany) -> HttpResponse:
    return refuse(Refusal.OVERLOADED, str(error), retry_after=error.retry_after)


def _too_large(_: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return refuse(Refusal.TOO_LARGE, Refusal.TOO_LARGE.text(f"{MAX_FRAME_BYTES} bytes a request"))


def _invalid(_: HttpRequest, error: ValidationError) -> HttpResponse:
    """Name the first field that is wrong, as `body.members.0.user: …`."""
    first = error.errors[0]
    source, *names = map(str, first["loc"])
    where = ".".join([source, *names[1:]] if source == "body" else names)
    reason = str(first["msg"]).removeprefix("Value error, ")
    return decline(Problem.INVALID_REQUEST, f"{where}: {reason}")


def _unreadable(_: HttpRequest, error: HttpError) -> HttpResponse:
    """What ninja could not read at all; in practice a body that is no JSON."""
    return decline(
        Problem.INVALID_REQUEST, "the body is not JSON", status=HTTPStatus(error.status_code)
    )


def _database(request: HttpRequest, error: Exception) -> HttpResponse:
    """An error of psycopg, bare or wrapped by Django."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error) or isinstance(cause, _AWAY):
        if getattr(cause, "sqlstate", None) in OTHERS_FIRST:
            return refuse(Refusal.BUSY, _LOCKED)
        logger.warning("the database does not answer %s: %s", request.path, error)
        return refuse(Refusal.DATABASE_UNAVAILABLE)
    logger.warning("the database refused %s: %s", request.path, error)
    sentence = (cause.diag.message_primary or str(cause)).rstrip(".")
    return refuse(Refusal.STORAGE_REFUSED, Refusal.STORAGE_REFUSED.text(sentence))


def _internal(request: HttpRequest, error: Exception) -> HttpResponse:
    device = getattr(getattr(request, "auth", None), "pk", None)
    about = {} if device is None else {"device": str(device)}
    logger.error("%s %s failed", request.method, request.path, exc_info=error, extra=about)
    # Django itself never sees this exception; those who watch its signal do.
    got_request_exception.send(sender=None, request=request)
    return decline(Problem.INTERNAL)
