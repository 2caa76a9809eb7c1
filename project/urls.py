"""The site's URLs."""

from django.contrib import admin
from django.urls import include, path

from messaging import views

urlpatterns = [
    path("", views.page, name="page"),
    path("admin/", admin.site.urls),
    path("api/", include("messaging.api.urls")),
]
