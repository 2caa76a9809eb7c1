"""The project as an app, so that Django finds its commands."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """The `serve` command and the demo users."""

    name = "project"
