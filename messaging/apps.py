"""The messaging app. It may import presence, never the other way round."""

from django.apps import AppConfig


class MessagingConfig(AppConfig):
    """Conversations, messages and receipts."""

    name = "messaging"
    verbose_name = "Messaging"
