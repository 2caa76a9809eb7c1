"""The ASGI entry point: HTTP to Django, WebSockets to the consumer.

The consumer itself checks Origin and token, so there is no session middleware here.
"""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
http = get_asgi_application()  # loads the apps: what follows may import models

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.urls import path

from messaging import health
from messaging.consumers import DeviceConsumer
from project.bodies import Bodies
from project.gate import Gate
from project.probes import Probes
from project.proxies import Proxies, networks

router = ProtocolTypeRouter(
    {
        # With a proxy in front, that one may serve the files; without one the page works, too.
        "http": Probes(Gate(Bodies(ASGIStaticFilesHandler(http))), health.process),
        "websocket": URLRouter([path("ws/", DeviceConsumer.as_asgi())]),
    }
)
application = Proxies(router, networks(settings.TRUSTED_PROXIES))
