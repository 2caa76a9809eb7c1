"""The presence app. It imports nothing of Lockstep: it is the leaf."""

from django.apps import AppConfig


class PresenceConfig(AppConfig):
    """Users, their devices, and the processes and sessions that are live."""

    name = "presence"
    verbose_name = "Presence"

    def ready(self) -> None:
        """Register system checks."""
        from presence import checks  # noqa: PLC0415 - settings are loaded now

        checks.register()
