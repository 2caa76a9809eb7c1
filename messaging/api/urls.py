"""What lies under /api/. Every other path there is refused in JSON."""

from django.urls import URLPattern, include, path, re_path

from messaging.api import api
from messaging.api.handlers import no_such_route, with_json_405

_routes, _app, _namespace = api.urls
for _route in _routes:
    if isinstance(_route, URLPattern):
        _route.callback = with_json_405(_route.callback)

urlpatterns = [
    path("", no_such_route),
    path("", include((_routes, _app), namespace=_namespace)),
    re_path("", no_such_route),
]
