"""Django's middlewares as an event loop wants them.

Under ASGI Django changes to a thread and back for each middleware, before the view and again after
it: for the API that cost more than all else. Those that only look at headers run in the loop; those
that serve pages (session, form, user, message) leave the API alone, which knows nothing but tokens.
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin

API, DOCS = "/api/", "/api/docs"  # the page of the API is a page
POLICY = "Content-Security-Policy"


def of_api(request: HttpRequest) -> bool:
    """Whether the request is of the API, whose only credentials are tokens in a header."""
    return request.path.startswith(API) and not request.path.startswith(DOCS)


class InLoop(MiddlewareMixin):
    """A middleware that waits for nothing."""

    async def __acall__(self, request: HttpRequest) -> Any:
        """Call it in the loop."""
        response: HttpResponseBase | None = None
        if hasattr(self, "process_request"):
            response = self.process_request(request)
        response = response or await self.get_response(request)  # type: ignore[misc]
        if hasattr(self, "process_response"):
            response = self.process_response(request, response)
        return response


class PagesOnly(MiddlewareMixin):
    """A middleware that the API does not need."""

    async def __acall__(self, request: HttpRequest) -> Any:
        """Pass requests of the API on."""
        if of_api(request):
            return await self.get_response(request)  # type: ignore[misc]
        return await super().__acall__(request)


# Of the admin and the API's page: own files only; Django and Swagger style elements inline.
PAGES = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
ANSWERS = "default-src 'none'; frame-ancestors 'none'"  # no pages: nothing in them may load or run


class Policy(InLoop):
    """Gives each answer that has no Content-Security-Policy of its own the one of its kind."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Add the header."""
        response.headers.setdefault(POLICY, ANSWERS if of_api(request) else PAGES)
        return response


class Security(InLoop, SecurityMiddleware):
    pass


class Common(InLoop, CommonMiddleware):
    pass


class Framing(InLoop, XFrameOptionsMiddleware):
    pass


class Sessions(PagesOnly, SessionMiddleware):
    """A key that the database can't hold is none: with such a cookie strangers wrote stack traces."""

    def process_request(self, request: HttpRequest) -> None:
        """Find the session that the cookie names."""
        if "\0" in request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        super().process_request(request)


class Users(PagesOnly, AuthenticationMiddleware):
    pass


class Messages(PagesOnly, MessageMiddleware):
    pass


class Forms(PagesOnly, CsrfViewMiddleware):
    """Every view of the API is exempt from this check anyway."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view = self._aprocess_view  # type: ignore[assignment, method-assign]

    async def _aprocess_view(self, request: HttpRequest, *view: Any) -> Any:
        if of_api(request):
            return None
        return await sync_to_async(super().process_view, thread_sensitive=True)(request, *view)
