"""After a run: keep it in the database for the admin, if that can be reached. Never fails a run.

Without DATABASE_URL this process has no database, but the installation's own may be running: then
a child keeps the run there. Nothing is started for it.
"""

from __future__ import annotations

import os
import subprocess
import sys

from django.conf import settings
from django.db import DatabaseError

from perf.history.rundir import RunDirectory
from perf.models import Run
from perf.rig.children import ROOT, manage

CHILD_S = 60.0
NO_DATABASE = "django.db.backends.dummy"

# Prints the addresses of the installation's own servers if both run.
RUNNING = """
import os, pathlib
from project import postgres, services, valkey
directory = pathlib.Path(os.environ.get("LOCKSTEP_DATA") or services.DIRECTORY)
if directory.exists():
    found = services.locate(directory)
    if postgres.pid(found.home) and valkey.pid(found.home):
        print(found.database_url, found.redis_url)
"""


def keep(directory: RunDirectory) -> str | None:
    """Keep the run. Returns why it could not be kept, in one line; None if it was, or nothing runs."""
    if settings.DATABASES["default"]["ENGINE"] != NO_DATABASE:
        return _keep_here(directory)
    try:
        found = _child([sys.executable, "-c", RUNNING], {})
        addresses = found.stdout.split()
        if len(addresses) != 2:
            return None
        env = dict(zip(("DATABASE_URL", "REDIS_URL"), addresses, strict=True))
        done = _child(manage("perf_keep", str(directory.path)), env)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return _last(done.stderr) if done.returncode else None


def _keep_here(directory: RunDirectory) -> str | None:
    try:
        Run.objects.keep(directory)
    except (DatabaseError, OSError) as error:
        return str(error).partition("\n")[0]
    return None


def _child(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=CHILD_S,
    )


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
