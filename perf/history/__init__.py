"""What happened in a run: `events` are its lines, `recorder` writes them, `log` is today's memory of them."""

from perf.history.log import Entry, History, Log, Page, Promise

__all__ = ["Entry", "History", "Log", "Page", "Promise"]
