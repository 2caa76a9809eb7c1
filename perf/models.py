"""Runs of the test framework, kept for the admin. The truth is a run's directory; this is a copy.

Only the shell writes here, after a run; the engine knows nothing of it, and what serves the admin
loads nothing of the engine before someone looks at a run.
"""

import gzip
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.utils.functional import cached_property

if TYPE_CHECKING:
    from perf.history.rundir import RunDirectory
    from perf.report.material import Material


class Verdict(models.TextChoices):
    """How a run ended."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    ABORTED = "aborted"


class Runs(models.Manager["Run"]):
    """Copies run directories into the database."""

    def keep(self, directory: "RunDirectory") -> "Run":
        """Store a run with its page, or store it again. Raises OSError, DatabaseError."""
        from perf.report.material import load  # noqa: PLC0415 - see above

        material = load(directory)
        run, _ = self.update_or_create(
            name="/".join(directory.path.parts[-2:]), defaults=_fields(material)
        )
        return run


class Run(models.Model):
    """One run: what was decided, on which commit, and the whole report."""

    name = models.CharField(max_length=200, unique=True, help_text="The end of its directory.")
    scenario = models.CharField(max_length=100, db_index=True)
    verdict = models.CharField(max_length=10, choices=Verdict)
    seed = models.BigIntegerField()
    started = models.DateTimeField(db_index=True)
    duration_s = models.FloatField("duration (s)")
    commit = models.CharField(max_length=50, blank=True)
    command = models.TextField(blank=True)
    environment = models.JSONField(default=dict)
    targets = models.JSONField(default=list)
    figures = models.JSONField(default=dict)
    result = models.JSONField(default=dict, help_text="The whole JSON of the run.")
    page_gzip = models.BinaryField(help_text="The report, compressed.")

    objects = Runs()

    class Meta:
        ordering: ClassVar[list[str]] = ["-started"]

    def __str__(self) -> str:
        return self.name

    @cached_property
    def page(self) -> bytes:
        """The report as it was when the run was stored."""
        return gzip.decompress(bytes(self.page_gzip))

    @property
    def held(self) -> int:
        """How many targets held."""
        return sum(target.get("passed") is True for target in self.targets)


def _fields(material: "Material") -> dict[str, Any]:
    from perf.report import page  # noqa: PLC0415 - see above

    result = material.result or {}
    written = page.render(material).encode()
    return {
        "scenario": material.said("scenario", material.directory.path.parent.name),
        "verdict": result.get("verdict") or Verdict.ABORTED,
        "seed": int(material.said("seed", 0)),
        "started": _started(material),
        "duration_s": float(material.said("duration_s", material.length_s)),
        "commit": str(material.environment.get("commit") or ""),
        "command": material.said("command", ""),
        "environment": material.environment,
        "targets": result.get("targets") or [],
        "figures": result.get("figures") or {},
        "result": result,
        "page_gzip": gzip.compress(written, mtime=0),
    }


def _started(material: "Material") -> datetime:
    """When it began: as the result says, else as the directory is called, else when it was made."""
    said = str(material.said("started", ""))
    named = material.directory.path.name.partition("-")[0]
    for text in (said, f"{named}+00:00"):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            continue
    return datetime.fromtimestamp(material.directory.path.stat().st_mtime, tz=UTC)
