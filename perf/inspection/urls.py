"""The project's pages, and ours."""

from django.urls import include, path

from perf.inspection import PATH
from perf.inspection.page import quiescence

urlpatterns = [path(PATH, quiescence), path("", include("project.urls"))]
