"""The ASGI entry point: HTTP to Django, WebSockets to the consumer.

The consumer itself checks Origin and token, so there is no session middleware here.
"""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
http = get_asgi_application()  # loads the apps: what follows may import models

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.urls import path

from messaging.consumers import DeviceConsumer
from project.bodies import Bodies

application = ProtocolTypeRouter(
    {
        # With a proxy in front, that one may serve the files; without one the page works, too.
        "http": Bodies(ASGIStaticFilesHandler(http)),
        "websocket": URLRouter([path("ws/", DeviceConsumer.as_asgi())]),
    }
)
