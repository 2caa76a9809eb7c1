"""How witnesses speak of devices and moments."""

from __future__ import annotations

from perf.history.reader import Evidence, Log


def device(log: Log) -> str:
    """The subject of a sentence."""
    return f"Device {log.device.device} of user {log.device.user}"


def moment(t: int, evidence: Evidence) -> str:
    """When something happened, since the run began."""
    began = min((run.t for run in evidence.runs), default=0)
    return f"at {(t - began) / 1e9:.3f} s"
