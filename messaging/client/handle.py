"""A request under way, as the application holds it, and how it can end other than well."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Generic, TypeVar

from messaging.protocol import LockstepError
from messaging.protocol.client.happenings import Confirmed
from messaging.protocol.frames import Error

Answer = TypeVar("Answer")


class RequestRefused(LockstepError):
    """The server refused a request for good. `error.current` is the message as it is, on a conflict."""

    def __init__(self, error: Error) -> None:
        self.error, self.code = error, error.code

    def __str__(self) -> str:
        return f"{self.code}: {self.error.message}"


class ClosedError(LockstepError):
    """The client ended before the answer. In a store with a file the request waits for the next start."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"The client was closed before the server answered{why}; the request stays in the outbox."


class Pending(Generic[Answer]):
    """An answer to come. Await it; raises `RequestRefused` or `ClosedError`."""

    def __init__(self) -> None:
        self._future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # Nobody has to await it: then its exception is nobody's either.
        self._future.add_done_callback(lambda future: future.cancelled() or future.exception())

    def __await__(self) -> Generator[Any, None, Answer]:
        return asyncio.shield(self._future).__await__()

    def settle(self, outcome: Answer | LockstepError) -> None:
        """Wake who awaits."""
        if self._future.done():
            return
        if isinstance(outcome, LockstepError):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)


class Handle(Pending[Confirmed]):
    """A request of the outbox under way; its answer is the `Confirmed`."""

    def __init__(self, client_id: str) -> None:
        super().__init__()
        self.client_id = client_id
