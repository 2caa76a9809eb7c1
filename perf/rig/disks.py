"""A disk that is small enough to be filled: a tmpfs of its own (tmpfs(5)). As root only.

It answers a write that has no room with ENOSPC as any disk does; only that `fsync` costs nothing there.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perf.rig.children import RigError

FILLER = "filler"
MOUNTS = Path("/proc/mounts")


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Mounted at `path`, of so many bytes, for the account that is given."""

    path: Path
    size: int
    uid: int
    gid: int

    def mount(self) -> None:
        """Raises RigError."""
        self.path.mkdir(exist_ok=True)
        owner = f"size={self.size},mode=0700,uid={self.uid},gid={self.gid}"
        _run("mount", "-t", "tmpfs", "-o", owner, "lockstep-small", str(self.path))

    def unmount(self) -> None:
        """Raises RigError."""
        _run("umount", str(self.path))
        self.path.rmdir()

    def fill(self) -> int:
        """Take all the room that there is, and return how many bytes that were. Raises OSError."""
        room = os.statvfs(self.path)
        taken = room.f_bavail * room.f_frsize
        with (self.path / FILLER).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(taken, 1))
        return taken

    def free(self) -> None:
        """Give it back; does nothing if it was not taken."""
        (self.path / FILLER).unlink(missing_ok=True)


def forget(directory: Path) -> None:
    """Unmount whatever a killed run has left mounted below a directory."""
    places = (
        [line.split()[1] for line in MOUNTS.read_text().splitlines()] if MOUNTS.exists() else []
    )
    for place in places:
        if Path(place).is_relative_to(directory):
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def why_not() -> str:
    """Why there can be none here; nothing if there can."""
    if os.geteuid():
        return "only root can mount a small disk"
    with tempfile.TemporaryDirectory(prefix="lockstep-trial-") as name:
        disk = Disk(path=Path(name) / "disk", size=1 << 20, uid=0, gid=0)
        try:
            disk.mount()
            disk.unmount()
        except RigError as error:
            return str(error)
    return ""


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
