"""What presence announces. It never calls other apps: they connect here."""

from django.dispatch import Signal

# Sent inside the registering transaction with `device` (a Device) and `created` (False for a repeat).
# A receiver that raises undoes the registration.
device_registered = Signal()
