"""Django's development server, speaking ASGI: Daphne's command with our sockets, without Daphne among the apps.

As an app it would load Twisted into every process of ours, also where uvicorn serves: half a second, and 10 MB.
"""

from typing import Any

from daphne.management.commands.runserver import Command as Daphnes
from daphne.ws_protocol import WebSocketFactory

from project.daphne_server import Protocol


class Command(Daphnes):  # type: ignore[misc]
    """Serve for development."""

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve until Ctrl-C, or until the code changes."""
        WebSocketFactory.protocol = Protocol
        super().inner_run(*args, **options)
