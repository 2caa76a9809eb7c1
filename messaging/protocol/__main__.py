"""Writes docs/protocol.md and docs/asyncapi.json from the code: `python -m messaging.protocol [--check]`."""

from __future__ import annotations

import argparse
import sys

from messaging.protocol.document import writing


def main() -> int:
    """Write, or with --check only compare. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m messaging.protocol", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 if stale")
    if not parser.parse_args().check:
        for path in writing.write():
            print(f"wrote {path.name}")
        return 0
    found = writing.stale()
    for path in found:
        print(f"docs/{path.name} differs from the code; run python -m messaging.protocol")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
