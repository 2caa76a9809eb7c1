"""The project as an app, so that Django finds its commands and checks."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """The `serve` command and the demo users."""

    name = "project"

    def ready(self) -> None:
        """Register system checks."""
        from project import checks  # noqa: PLC0415 - settings are loaded now

        checks.register()
