"""What happened in a run: `events` are its lines, `log` is what the devices saw, in memory."""

from perf.history.log import Entry, History, Log, Page, Promise

__all__ = ["Entry", "History", "Log", "Page", "Promise"]
