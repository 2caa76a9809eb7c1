"""The engine stands alone: it needs no Django, so that it can't share a mistake with the server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # interpreters of their own

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import importlib, pkgutil, sys
import perf
SHELL = ("perf.management", "perf.migrations", "perf.apps", "perf.models", "perf.admin", "perf.sabotage.", "perf.rig.inspection")
PROGRAMS = {"perf.rig.keep"}  # on their own, spoken to through pipes
for module in pkgutil.walk_packages(perf.__path__, "perf."):
    if module.name not in PROGRAMS and not module.name.startswith(SHELL):
        importlib.import_module(module.name)
print(sorted(name for name in sys.modules if name.split(".")[0] in {"django", "project", "presence"}))
"""


def test_the_engine_imports_no_django_and_nothing_of_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_a_server_that_shows_the_admin_does_not_load_the_engine() -> None:
    program = "import django, sys; django.setup(); import perf.admin\n"
    program += "print(sorted(name for name in sys.modules if name.startswith('perf.')))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings"},
    )
    assert done.stdout.strip() == "['perf.admin', 'perf.apps', 'perf.models']", done.stderr
