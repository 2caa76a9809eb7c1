"""All files of a report at once: after a run, and again later from what the run left."""

from __future__ import annotations

import msgspec

from perf.history.rundir import RunDirectory
from perf.report import document, junit, page
from perf.scenario import Result


def write(result: Result, directory: RunDirectory) -> None:
    """Write result.json, junit.xml and report.html. Raises OSError."""
    document.write_json(result, directory.result)
    junit.write(result, directory.junit)
    page.write(directory)


def rebuild(directory: RunDirectory) -> Result | None:
    """Make the page and junit.xml again; None if the run was aborted: then there is only the page.

    Raises OSError.
    """
    page.write(directory)
    try:
        result = msgspec.json.decode(directory.result.read_bytes(), type=Result)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    junit.write(result, directory.junit)
    return result
