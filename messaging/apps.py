"""The messaging app. It may import presence, never the other way round."""

from django.apps import AppConfig


class MessagingConfig(AppConfig):
    """Conversations, messages and receipts."""

    name = "messaging"
    verbose_name = "Messaging"

    def ready(self) -> None:
        """Register system checks and listen to presence."""
        from messaging import checks, conversations  # noqa: PLC0415 - models are loaded now
        from presence.signals import device_registered  # noqa: PLC0415 - see above

        checks.register()
        device_registered.connect(conversations.welcome_device, dispatch_uid="messaging.self")
