"""The ASGI entry point: HTTP to Django, WebSockets to the consumer.

The consumer itself checks Origin and token, so there is no session middleware here.
"""

import os
from typing import Any

import django
from channels.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup(set_prefix=False)  # what follows may import models

from django.conf import settings
from django.urls import path, re_path

from messaging import health
from messaging.consumers import DeviceConsumer
from project.bodies import Bodies
from project.gate import Gate
from project.handler import Handler
from project.probes import Probes
from project.proxies import Proxies
from project.static import StaticFiles


async def nowhere(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Refuse a socket on another path; without a route it would be an error of ours, with a stack trace."""
    await receive()
    await send({"type": "websocket.close"})


sockets: list[Any] = [path("ws/", DeviceConsumer.as_asgi()), re_path("", nowhere)]  # type: ignore[arg-type]
router = ProtocolTypeRouter(
    {
        # With a proxy in front, that one may serve the files; without one the page works, too.
        "http": Probes(Gate(Bodies(StaticFiles(Handler()))), health.process),
        "websocket": URLRouter(sockets),
    }
)
application = Proxies(router, settings.TRUSTED_PROXIES)
