"""What goes on beside a load and ends with it: pings, probes, a second load. An error of it is an error of the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def alongside(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Have all this go on for the time inside, then end it. Raises an ExceptionGroup of what any of it raises.

    A load that fell over unnoticed would let every message after it look served.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
