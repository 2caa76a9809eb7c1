"""What lies under /api/. Every other path there is refused in JSON.

Each call says its own transactions, so a site's ATOMIC_REQUESTS is none of theirs: Django has no such
transaction in the loop, and it would hold a connection of the pool to the end.
"""

from django.db import connections, transaction
from django.urls import URLPattern, include, path, re_path

from messaging.api import api
from messaging.api.handlers import no_such_route, with_json_405

_routes, _app, _namespace = api.urls
for _route in _routes:
    if isinstance(_route, URLPattern):
        _view = with_json_405(_route.callback)
        for _database in connections:
            _view = transaction.non_atomic_requests(using=_database)(_view)
        _route.callback = _view

urlpatterns = [
    path("", no_such_route),
    path("", include((_routes, _app), namespace=_namespace)),
    re_path("", no_such_route),
]
