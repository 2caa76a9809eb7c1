"""What is asked for while something like it is under way is done together, in one go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turn(Generic[T]):
    """Collects what is asked in one turn of the loop, or while the last lot is being done by `work`."""

    def __init__(self, work: Callable[[list[T]], Awaitable[None]]) -> None:
        self._work = work
        self._waiting: list[T] = []
        self._done: asyncio.Future[None] | None = None  # of those that wait
        self._worker: asyncio.Task[None] | None = None

    async def take(self, item: T) -> None:
        """Returns when it is done; raises what `work` raised. It is done also if the caller is cancelled."""
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
                try:
                    await self._work(items)
                except BaseException as error:
                    done.set_exception(error)
                    done.exception()  # who still waits sees it; nobody waiting is no error
                    if not isinstance(error, Exception):
                        raise
                else:
                    done.set_result(None)
        finally:
            self._worker = None
            self._abandon()

    def _abandon(self) -> None:
        """Cancelled: nobody does what still waits."""
        if self._done is not None:
            self._done.cancel()
            self._waiting, self._done = [], None
