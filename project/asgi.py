"""The ASGI entry point: HTTP to Django, WebSockets to the consumer.

The consumer itself checks Origin and token, so there is no session middleware here.
"""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()  # loads the apps: what follows may import models

from django.urls import path  # noqa: E402

from messaging.consumers import DeviceConsumer  # noqa: E402

websocket_routes = [path("ws/", DeviceConsumer.as_asgi())]

application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": URLRouter(websocket_routes),
    }
)
