"""A server process's lease: its node in the database, renewed with every beat, and given back.

Laws: nothing is sent to anyone unless `alive`, because others wait for a dead process's lease and no
longer; a process that stood still for longer than its lease begins anew under another node, for others
took its sessions for dead; nobody is reaped by who has not beaten well for a whole lease, nor within one of a
step of the database's clock, which ends all leases at once or makes them last.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

import psycopg

from presence import signals, statements
from presence.line import Line

logger = logging.getLogger(__name__)

LOOKS = 12  # in the time of a lease: how soon it is noticed that this process stood still
# Counts the seconds of a machine's sleep, too; where there is no such clock, they go unnoticed.
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since the machine was started, whatever its calendar says."""
    return time.clock_gettime(CLOCK)


class Lease(ABC):
    """The part of a roster that beats. What happens to the sessions meanwhile, its subclass says.

    When the lease is renewed after it lapsed, `on_renewed` finds out what was missed; then it counts
    as held, and `on_alive` is called. `on_paused` is called when this process stood still for longer
    than its lease, before anything is sent: its sessions are to go elsewhere.
    """

    def __init__(self, line: Line, *, lease_s: float, beat_s: float, sweep_s: float) -> None:
        self.node: str | None = None
        self.on_renewed: Callable[[], Awaitable[None]] | None = None
        self.on_alive: Callable[[], None] | None = None
        self.on_paused: Callable[[], None] | None = None
        self._line = line
        self._lease_s, self._beat_s, self._sweep_s = lease_s, beat_s, sweep_s
        self._lease_until = self._sweep_until = 0.0
        self._lapsed = False
        self._pauses = self._overcome = 0  # how often this process stood still, and began anew
        self._looked = elapsed()
        self._reap_after = float("inf")
        self._clock: float | None = None  # the database's, less ours, at the last beat
        self._beating: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> bool:
        """Whether this process's lease certainly lasts, and what it missed while it did not is known."""
        return elapsed() < self._lease_until and not self._lapsed

    @property
    def age_s(self) -> float:
        """Seconds since the lease was last renewed, as far as this process knows."""
        return elapsed() - (self._lease_until - self._lease_s)

    async def start(self) -> None:
        """Register this process and begin to renew its lease. Raises psycopg.Error without a database."""
        async with self._line.lock:
            await self._register()
        self._looked = elapsed()
        self._beating = [asyncio.create_task(work) for work in (self._beat(), self._look())]

    @abstractmethod
    async def _readmit(self, node: str) -> None:
        """Store the sessions under a new node. The line's lock is held."""

    @abstractmethod
    def _stood_still(self) -> None:
        """The sessions of now are not to be readmitted."""

    @abstractmethod
    async def _sweep(self) -> None:
        """Delete what a broken statement may have left on our node. The line's lock is held."""

    def _sweep_later(self) -> None:
        """A statement broke: what it may still do, it does within its own time-out."""
        self._sweep_until = elapsed() + self._sweep_s + 2 * self._beat_s

    async def _stop_beating(self) -> None:
        for task in self._beating:
            task.cancel()
        await asyncio.gather(*self._beating, return_exceptions=True)

    async def _register(self) -> None:
        asked = elapsed()
        name = f"{socket.gethostname()}:{os.getpid()}"[:64]
        rows = await self._line.ask_now(statements.REGISTER, (name, self._lease_s))
        node = rows[0][0]
        await self._readmit(node)
        self.node = node  # only now: a node without our sessions is none of ours
        self._lease_until = asked + self._lease_s
        self._reap_after = asked + self._lease_s

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / LOOKS)
            self._notice()

    def _notice(self) -> None:
        """Find out whether this process stood still for longer than its lease since the last look."""
        now = elapsed()
        still, self._looked = now - self._looked, now
        if still <= self._lease_s:
            return
        logger.warning("this process stood still for %.1f s: its sessions go elsewhere", still)
        self._lapsed = True
        self._pauses += 1
        self._stood_still()
        try:
            if self.on_paused is not None:
                self.on_paused()
        except Exception:  # without looks and beats it would be worse
            logger.exception("sessions were not told that this process stood still")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            self._notice()
            self._lapsed = not self.alive
            try:
                await self._renew()
                if self._lapsed:
                    await self._revive()
            except psycopg.Error as error:
                self._sweep_later()
                self._reap_after = float("inf")
                logger.warning("the lease could not be renewed: %s", error)
            except Exception:  # without beats the process would be mute for ever
                logger.exception("the lease was not renewed")

    async def _revive(self) -> None:
        if self.on_renewed is not None:
            await self.on_renewed()
        self._notice()
        if self._pauses != self._overcome:
            return  # with the next beat: it stood still while it waited for an answer
        self._lapsed = False
        if self.on_alive is not None:
            self.on_alive()

    async def _renew(self) -> None:
        asked = elapsed()
        async with (
            self._line.lock
        ):  # hellos wait: they name the node that is ours when they are stored
            await self._renew_node()
            if elapsed() >= self._lease_until:
                self._lapsed = True  # while the answer was on its way
            self._lease_until = asked + self._lease_s
            if asked < self._sweep_until:
                await self._sweep()
            if self._reap_after == float("inf"):
                self._reap_after = asked + self._lease_s
            if asked > self._reap_after:
                await self._bury(statements.REAP, self._lease_s, self._database_now)

    async def _renew_node(self) -> None:
        pauses = self._pauses
        if pauses != self._overcome:  # others took us for dead, and now we are
            await self._bury(statements.GIVE_UP, self.node)
            await self._register()
            self._overcome = pauses
        elif rows := await self._line.ask_now(statements.BEAT, (self._lease_s, self.node)):
            self._compare(rows[0][0])
        else:
            self._lapsed = True  # whatever our clock says: others took us for dead
            await self._register()

    def _compare(self, now: float) -> None:
        """Find out whether the database's clock made a step since the last beat: the living renew their leases first."""
        before, self._clock = self._clock, now - elapsed()
        step = 0.0 if before is None else self._clock - before
        if abs(step) > self._lease_s:
            logger.warning("the database's clock made a step of %+.0f s", step)
            self._reap_after = float("inf")

    @property
    def _database_now(self) -> float:
        """What its clock shows now (seconds since 1970), if it made no step since the last beat."""
        return (self._clock or 0.0) + elapsed()

    async def _bury(self, statement: str, *parameters: object) -> None:
        rows = await self._line.ask_now(statement, parameters)
        signals.announce_presence({row[0] for row in rows})
