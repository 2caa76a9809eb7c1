"""Applies the one sabotage that the environment names."""

import os
from importlib import import_module

from django.apps import AppConfig

from perf.sabotage import VARIABLE

MODULES = {
    "drop": "frames",
    "swap": "frames",
    "repeat": "frames",
    "resurrect": "frames",
    "redate": "frames",
    "ack": "promises",
    "idempotency": "promises",
    "leave": "fences",
    "revocation": "fences",
    "receipt": "marks",
    "leak": "sessions",
    "early": "batches",
    "late": "batches",
    "eager": "marks",
    "overwrite": "promises",
}


class SabotageConfig(AppConfig):
    """Breaks this process."""

    name = "perf.sabotage"

    def ready(self) -> None:
        """Patch the product."""
        chosen = os.environ[VARIABLE]
        module = import_module(f"perf.sabotage.{MODULES[chosen]}")
        getattr(module, chosen)()
