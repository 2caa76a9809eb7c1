"""PostgreSQL's own tools for backups, told where Django's database is.

For a server of ours they are those of its wheel, else those on PATH: pg_dump refuses servers newer than itself.
"""

import os
import shutil
import subprocess

from django.core.management.base import CommandError
from django.db import connection
from psycopg.conninfo import make_conninfo

from project import services

_NOT_FOR_LIBPQ = ("cursor_factory", "context", "pool", "prepare_threshold", "server_side_binding")


def run(tool: str, *arguments: str) -> str:
    """Run a tool on the database, without asking for a password; what it says. Raises CommandError with its own words if it fails."""
    given = connection.get_connection_params()
    parameters = {key: value for key, value in given.items() if key not in _NOT_FOR_LIBPQ}
    # Not in the command line, which everybody on the machine can read.
    secret = {"PGPASSWORD": parameters.pop("password")} if parameters.get("password") else {}
    result = subprocess.run(
        [_path(tool), "--dbname", make_conninfo(**parameters), "--no-password", *arguments],
        check=False,
        env=os.environ | secret,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if result.returncode:
        lines = result.stderr.splitlines() or [f"{tool}: exit code {result.returncode}"]
        raise CommandError(next((line for line in lines if "error" in line.lower()), lines[0]))
    return result.stdout


def _path(tool: str) -> str:
    own = services.directory_in_use()
    home = services.locate(own).home if own is not None else None
    if home is not None and connection.settings_dict["HOST"] == str(home.sockets):
        return str(home.postgres_bin / tool)
    found = shutil.which(tool)
    if found is None:
        raise CommandError(
            f"There is no {tool} on PATH: install the client tools of the server's version "
            "(Debian: apt-get install postgresql-client)."
        )
    return found
