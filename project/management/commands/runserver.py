"""Django's development server, speaking ASGI: Daphne's command, without Daphne among the apps.

As an app it would load Twisted into every process of ours, also where uvicorn serves: half a second, and 10 MB.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
