"""The engine stands alone: it needs no Django, so that it can't share a mistake with the server."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import importlib, pkgutil, sys
import perf
for module in pkgutil.walk_packages(perf.__path__, "perf."):
    if not module.name.startswith(("perf.management", "perf.apps")):
        importlib.import_module(module.name)
print(sorted(name for name in sys.modules if name.split(".")[0] in {"django", "project", "presence"}))
"""


def test_the_engine_imports_no_django_and_nothing_of_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
