#!/usr/bin/env python3
"""Django's command line. Starts PostgreSQL and Valkey first when a command needs them."""

import os
import signal
import sys


def main() -> None:
    """Run one management command; an error of the services is one line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit(
            "Django is not installed for this Python: run `make setup`, "
            "then `.venv/bin/python manage.py …`."
        )
    from project import services

    for number in (signal.SIGTERM, signal.SIGHUP):  # so that what we started is stopped
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        with services.for_command(sys.argv[1:]):
            try:
                execute_from_command_line(sys.argv)
            finally:  # however impatient somebody is
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
    except services.ServiceError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
