"""Django's name for this app."""

from django.apps import AppConfig


class PerfConfig(AppConfig):
    """The test framework's commands, and the runs that the admin shows."""

    name = "perf"
    verbose_name = "Tests and measurements"
