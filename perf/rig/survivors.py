"""What no server may do in a run, whatever is asked of it: end, or write a stack trace into its log."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from perf.rig.environment import Environment

TRACE = "Traceback (most recent call last)"
LOGS = (
    "server*.log",
    "second*.log",
)  # of the first server, and of one beside it that has to be whole, too


class Survivors:
    """The servers of an environment as they are now, to be looked at again when the load is over."""

    def __init__(self, place: Environment) -> None:
        self._place, self._pids = place, _pids(place)

    def problems(self, *, killed: bool = False) -> list[str]:
        """What they must not have done, and those that came later and have gone, a sentence each.

        Where they are `killed` on purpose they may end; a stack trace is none of that.
        """
        found = []
        ended = len(self._pids - _pids(self._place)) + sum(self._place.ended)
        if ended and not killed:
            found.append(f"{ended} processes of the server ended during the run")
        if self._place.logs is not None:
            logs = [log for name in LOGS for log in self._place.logs.glob(name)]
            found += [_sentence(log) for log in sorted(logs)]
        return [sentence for sentence in found if sentence]


def _pids(place: Environment) -> set[int]:
    with suppress(psutil.Error):
        return {process.pid for process in place.server_processes()}
    return set()


def _sentence(log: Path) -> str:
    """How many stack traces a log has, and the last line of the first; nothing without one."""
    text = log.read_text(errors="replace")
    count = text.count(TRACE)
    if not count:
        return ""
    first = text.partition(TRACE)[2].splitlines()[1:]
    raised = next((line for line in first if line and not line.startswith(" ")), "it was cut off")
    return f"the server wrote {count} stack traces into {log.name}, the first: {raised[:200]}"
