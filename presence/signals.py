"""What presence announces. It never calls other apps: they connect here."""

from __future__ import annotations

import logging

from django.dispatch import Signal

logger = logging.getLogger(__name__)

# Sent inside the registering transaction with `device` (a Device) and `created` (False for a repeat).
# A receiver that raises undoes the registration.
device_registered = Signal()

# Sent with `users` (a set of ids): who is here, or how, may have changed by what this process has just
# committed. A hint: what is so now is asked of `who`. A receiver that raises is logged.
presence_changed = Signal()


def announce_presence(users: set[str]) -> None:
    """Tell everyone that the presence of these users may have changed."""
    if not users:
        return
    try:
        for receiver, response in presence_changed.send_robust(sender=None, users=users):
            if isinstance(response, Exception):
                logger.error("receiver %r failed", receiver, exc_info=response)
    except RuntimeError:  # Django's own, once the others were called
        logger.exception("an async receiver was not called; connect a plain function")
