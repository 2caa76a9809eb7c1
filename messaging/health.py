"""Whether this process is fit for clients: what a load balancer asks every second of every process.

Laws: the parts are asked at once, and none is waited for longer than BOUND_S; who asks within FRESH_S of another,
or together with others, gets the same answer, so that nobody loads the database by asking. Before it
drains a process says so (`leave`), as long as it is told to go on serving meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import psycopg

from messaging import engine
from presence.line import Line

logger = logging.getLogger(__name__)

BOUND_S = 1.0  # far beyond a busy server's answer (T3: 100 ms), far below a client's patience
FRESH_S = 0.5
NO_ANSWER = f"no answer within {BOUND_S:g} s"
# A former primary still answers: what it can't do is store.
ASK = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What is missing, by part, and whether the process is about to end."""

    missing: dict[str, str] = field(default_factory=dict)
    draining: bool = False

    @property
    def ready(self) -> bool:
        """Whether clients may be sent here."""
        return not (self.missing or self.draining)

    def as_json(self) -> dict[str, Any]:
        """The answer of `/readyz`."""
        return {
            "ready": self.ready,
            "draining": self.draining,
            "missing": self.missing,
            "process": os.getpid(),
        }


class Health:
    """The health of one process and its event loop."""

    def __init__(self) -> None:
        self._line = Line("lockstep health", timeout_ms=round(BOUND_S * 1000))
        self._leaving = False
        self._missing: dict[str, str] = {}
        self._looked = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[str] | None = None

    def leave(self) -> None:
        """From now on say that this process is about to end."""
        self._leaving = True

    async def readiness(self) -> Readiness:
        """Look, or tell what the last look saw if it is fresh. Never raises."""
        if monotonic() - self._looked > FRESH_S:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            await asyncio.shield(self._looking)
        running = engine.started()
        draining = self._leaving or (running is not None and running.draining)
        return Readiness(missing=self._missing, draining=draining)

    async def close(self) -> None:
        """Close the connection to the database."""
        await self._line.close()
        tasks = [task for task in (self._looking, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        missing = {"database": await self._database(), **_parts(engine.started())}
        self._missing = {part: why for part, why in missing.items() if why}
        self._looked = monotonic()

    async def _database(self) -> str:
        """Why it can't be counted on, or nothing. A question without an answer stays the only one."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        # Not cancelled when it is late: psycopg would ask a frozen server to cancel, for seconds more.
        await asyncio.wait({self._asking}, timeout=BOUND_S)
        return self._asking.result() if self._asking.done() else NO_ANSWER

    async def _ask(self) -> str:
        try:
            await engine.running()  # a process that began without the database begins now
            rows = await self._line.ask(ASK)
        except (psycopg.Error, OSError) as error:
            return str(error).partition("\n")[0] or type(error).__name__
        except Exception:  # whoever asks gets an answer
            logger.exception("the database could not be asked")
            return "the question failed: the log says why"
        return "it takes no writes" if rows[0][0] else ""


def _parts(running: engine.Engine | None) -> dict[str, str]:
    """What the engine knows of its parts by itself; a reason for each that is missing."""
    if running is None:
        return dict.fromkeys(("bus", "journal", "lease"), "not started")
    waiting = running.journal.waiting_s
    return {
        "bus": "its own pulse does not come back" if running.hub.bus.deaf else "",
        "journal": f"a commit has waited for {waiting:.1f} s" if waiting > BOUND_S else "",
        "lease": "" if running.roster.alive else "it could not be renewed in time",
    }


process = Health()
"""Of this process, as `serve` runs it: one event loop."""
