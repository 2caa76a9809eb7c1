"""What the application is told, in order: a queue, and behind it the store.

A slow application's queue is bounded: past its end changes are read from the store when their turn comes.
An `Applied` counts as taken when the next happening is asked for, also across restarts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

from messaging.protocol.client.happenings import (
    AnyHappening,
    Applied,
    Confirmed,
    MarksMoved,
    PresenceChanged,
    Restarted,
    TypingChanged,
)

QUEUE = 10_000  # happenings kept for a slow application; then changes are read from the store
PASSING = (  # their newest state can be asked for; of a confirmed request its handle tells, and the change
    Applied,
    Confirmed,
    MarksMoved,
    PresenceChanged,
    TypingChanged,
)


class News:
    """What one application has not been told yet. Iterate it from one place."""

    def __init__(
        self,
        *,
        untaken: Callable[[], Awaitable[list[Applied]]],
        taken: Callable[[str, int], None],
    ) -> None:
        """`untaken` reads from the store what was never taken; `taken` is told what is, as (conversation, upto)."""
        self._untaken, self._taken = untaken, taken
        self._queue: deque[AnyHappening] = deque()
        self._behind = True  # the store holds changes that were not queued
        self._seen: dict[str, int] = {}
        self._reset: set[str] = set()  # conversations that started anew while the store was read
        self._grown = asyncio.Event()
        self._ended = False

    def end(self) -> None:
        """Nothing more follows, but what is queued, or in the store, is still told."""
        self._ended = True
        self._grown.set()

    def tell(self, happened: list[AnyHappening]) -> None:
        """Queue what happened; of what does not fit, changes are kept by the store."""
        for happening in happened:
            if isinstance(happening, Restarted):
                self.restart(happening.conversation)
                self._unqueue(happening.conversation)
            if self._has_room(happening):
                self._queue.append(happening)
            else:
                self._behind = True
        if happened:
            self._grown.set()

    def _has_room(self, happening: AnyHappening) -> bool:
        """Whether it is queued. No change overtakes those that are left to the store."""
        if isinstance(happening, Applied) and self._behind:
            return False
        return len(self._queue) < QUEUE or not isinstance(happening, PASSING)

    def restart(self, conversation: str) -> None:
        """The conversation starts anew: whatever was seen of it will come again."""
        self._seen.pop(conversation, None)
        self._reset.add(conversation)

    async def __aiter__(self) -> AsyncIterator[AnyHappening]:
        while not self._ended or self._queue or self._behind:
            self._grown.clear()
            if self._queue:
                happening = self._unseen(self._queue.popleft())
                if happening is not None:
                    yield happening
                    self._done_with(happening)
            elif self._behind:
                await self._catch_up()
            else:
                await self._grown.wait()

    async def _catch_up(self) -> None:
        """Read what the store has, which goes before what came meanwhile: that may be the end of it."""
        self._behind = False
        self._reset.clear()
        found = await self._untaken()
        true = [applied for applied in found if applied.conversation not in self._reset]
        self._queue.extendleft(reversed(true))

    def _done_with(self, happening: AnyHappening) -> None:
        """The application has taken it; unless the conversation was reset meanwhile, that is remembered."""
        if not isinstance(happening, Applied):
            return
        if self._seen.get(happening.conversation) == happening.upto:
            self._taken(happening.conversation, happening.upto)

    def _unseen(self, happening: AnyHappening) -> AnyHappening | None:
        """Leave out what the application has seen: the store and the queue may both have brought it."""
        if not isinstance(happening, Applied):
            return happening
        seen = self._seen.get(happening.conversation, -1)
        if happening.upto <= seen:
            return None
        self._seen[happening.conversation] = happening.upto
        messages = [message for message in happening.messages if message.seq > seen]
        return Applied(conversation=happening.conversation, messages=messages, upto=happening.upto)

    def _unqueue(self, conversation: str) -> None:
        """What was told of a conversation before its reset is not true any more."""
        kept = [
            happening
            for happening in self._queue
            if not (isinstance(happening, Applied) and happening.conversation == conversation)
        ]
        self._queue = deque(kept)
