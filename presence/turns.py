"""What is asked for while something like it is under way is done together, in one go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import psycopg

T = TypeVar("T")


class Turn(Generic[T]):
    """Collects what is asked in one turn of the loop, or while the last lot is being done by `work`."""

    def __init__(self, work: Callable[[list[T]], Awaitable[None]]) -> None:
        self._work = work
        self._waiting: list[T] = []
        self._done: asyncio.Future[None] | None = None  # of those that wait
        self._worker: asyncio.Task[None] | None = None

    async def take(self, item: T) -> None:
        """Returns when it is done; raises what `work` raised, or psycopg.OperationalError if it was ended.

        It is done also if the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        self._waiting.append(item)
        if self._done is None:
            self._done = loop.create_future()
        if self._worker is None:
            self._worker = loop.create_task(self._run())
        await asyncio.shield(self._done)

    async def end(self, patience_s: float) -> None:
        """Wait for what is under way, then cancel it."""
        if self._worker is not None:
            _, late = await asyncio.wait({self._worker}, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._done is not None:
                items, done = self._waiting, self._done
                self._waiting, self._done = [], None
                await self._do(items, done)
        finally:
            self._worker = None
            if self._done is not None:  # cancelled: nobody does what still waits
                _fail(self._done, psycopg.OperationalError("this process is stopping"))
                self._waiting, self._done = [], None

    async def _do(self, items: list[T], done: asyncio.Future[None]) -> None:
        try:
            await self._work(items)
            done.set_result(None)
        except Exception as error:
            _fail(done, error)
        finally:
            if not done.done():
                _fail(done, psycopg.OperationalError("this process is stopping"))


def _fail(done: asyncio.Future[None], error: Exception) -> None:
    done.set_exception(error)
    done.exception()  # who still waits sees it; nobody waiting is no error
