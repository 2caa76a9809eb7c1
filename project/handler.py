"""Django's ASGI handler, for clients that take their time, and for heads that say nonsense."""

from collections.abc import Mapping
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.db import close_old_connections
from django.http import HttpResponseBadRequest
from django.http.response import HttpResponseBase


class Handler(ASGIHandler):
    """Gives a request's connection to the database back before its answer is sent.

    Django does so once it is sent: eight clients that read nothing had all that the pool has.
    """

    async def send_response(self, response: HttpResponseBase, send: Any) -> None:
        """Send what a view has made."""
        await sync_to_async(close_old_connections)()
        await super().send_response(response, send)

    def create_request(
        self, scope: Mapping[str, Any], body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """The request, or the answer to one whose Content-Type names an encoding that there is not."""
        try:
            return super().create_request(scope, body_file)
        except ValueError:
            return None, HttpResponseBadRequest()
