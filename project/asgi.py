"""The ASGI entry point: HTTP to Django, WebSockets to the consumer.

The consumer itself checks Origin and token, so there is no session middleware here.
"""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
http = get_asgi_application()  # loads the apps: what follows may import models

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.urls import path

from messaging.consumers import DeviceConsumer

application = ProtocolTypeRouter(
    {
        # Behind a proxy, that one serves the files; a developer has none.
        "http": ASGIStaticFilesHandler(http) if settings.DEBUG else http,
        "websocket": URLRouter([path("ws/", DeviceConsumer.as_asgi())]),
    }
)
