"""Keeps docs/protocol.md and docs/asyncapi.json equal to the code.

The page's prose is written by hand; what stands between `<!-- generated: name -->` and
`<!-- end -->` is written from here. `python -m messaging.protocol` writes, `--check` compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from messaging.protocol.document import asyncapi, tables

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE, ASYNCAPI = "protocol.md", "asyncapi.json"

PARTS: dict[str, Callable[[], str]] = {
    "client frames": tables.client_frames,
    "server frames": tables.server_frames,
    "values": tables.values,
    "refusals": tables.refusals,
    "close codes": tables.close_codes,
    "limits": tables.limits,
    "story": tables.story,
    "packed": tables.packed,
}
_PART = re.compile(r"<!-- generated: ([a-z ]+) -->\n.*?<!-- end -->", re.DOTALL)


def render(page: str) -> str:
    """The page with its generated parts made anew. Raises ValueError if a part is missing or unknown."""
    named = _PART.findall(page)
    if sorted(named) != sorted(PARTS):
        different = sorted(set(named) ^ set(PARTS)) or "repeated ones"
        raise ValueError(
            f"The generated parts of {PAGE} should be {sorted(PARTS)}; see {different}."
        )
    return _PART.sub(lambda found: _marked(found[1], PARTS[found[1]]()), page)


def _marked(name: str, text: str) -> str:
    return f"<!-- generated: {name} -->\n\n{text}\n\n<!-- end -->"


def current(docs: Path = DOCS) -> dict[Path, str]:
    """Each document's path and the text that it should have."""
    page = docs / PAGE
    described = json.dumps(asyncapi.document(), indent=2, ensure_ascii=False) + "\n"
    return {page: render(page.read_text()), docs / ASYNCAPI: described}


def stale(docs: Path = DOCS) -> list[Path]:
    """The documents that differ from the code."""
    return [
        path
        for path, text in current(docs).items()
        if not path.exists() or path.read_text() != text
    ]


def write(docs: Path = DOCS) -> list[Path]:
    """Write the documents that differ from the code. Returns their paths."""
    texts, changed = current(docs), stale(docs)
    for path in changed:
        path.write_text(texts[path])
    return changed
