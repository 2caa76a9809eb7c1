"""The project's pages, and ours."""

from django.urls import include, path

from perf.rig.inspection import PATH
from perf.rig.inspection.page import quiescence

urlpatterns = [path(PATH, quiescence), path("", include("project.urls"))]
