"""The site's URLs: the page, the REST API, the admin, the metrics. `/ws/` is in `asgi`."""

from django.contrib import admin
from django.urls import include, path

from messaging.views import metrics_page, page

urlpatterns = [
    path("", page, name="page"),
    path("metrics", metrics_page, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/", include("messaging.api.urls")),
]
