"""The result as JSON, for machines."""

from __future__ import annotations

from pathlib import Path

import msgspec

from perf.scenario import Result


def to_json(result: Result) -> bytes:
    """The result as JSON, readable."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n"


def write_json(result: Result, path: Path) -> None:
    """Write the JSON. Raises OSError."""
    path.write_bytes(to_json(result))
