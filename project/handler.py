"""Django's ASGI handler, for clients that take their time."""

from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections
from django.http.response import HttpResponseBase


class Handler(ASGIHandler):
    """Gives a request's connection to the database back before its answer is sent.

    Django does so once it is sent: eight clients that read nothing had all that the pool has.
    """

    async def send_response(self, response: HttpResponseBase, send: Any) -> None:
        """Send what a view has made."""
        await sync_to_async(close_old_connections)()
        await super().send_response(response, send)
