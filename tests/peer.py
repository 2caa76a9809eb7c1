"""Another server process without a socket: journal, hub and bus, driven by JSON lines.

Run it as `python -m tests.peer` with DATABASE_URL and REDIS_URL. It says "ready", then takes
`[n, device, frame]` lines and answers `[n, "ok", stored]` or `[n, "<refusal>", null]` in the order in
which the journal answered; `[n, null, {"do": …}]` is for its roster or its bus, see `_do`. It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import deque
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent


async def main() -> None:
    """Serve standard input until it ends."""
    from messaging import engine as engines
    from messaging.protocol.errors import Refused
    from messaging.protocol.frames import ClientFrame
    from messaging.protocol.server.actions import Stored

    engine = await engines.running()
    _say("ready")

    def settle(number: int, outcome: Stored | Refused) -> None:
        if isinstance(outcome, Refused):
            _say([number, outcome.refusal.code, None])
        else:
            _say([number, "ok", [*outcome]])

    while line := await asyncio.to_thread(sys.stdin.readline):
        number, device, frame = json.loads(line)
        if device is None:
            _say([number, "ok", await _do(engine, **frame)])
            continue
        write: Any = msgspec.convert(frame, ClientFrame)
        engine.journal.put(device, write, partial(settle, number))
    await engine.journal.drain()
    await engines.shut_down()


async def _do(engine: Any, *, do: str, **given: Any) -> Any:
    """Begin or change a session that has no socket, or type."""
    from messaging.hub.events import TypingEvent

    if do == "arrive":
        return (await engine.roster.arrive(given["token"])).session
    if do == "leave":
        return await engine.roster.leave(given["session"])
    if do == "state":
        return await engine.roster.set_state(given["session"], given["state"])
    return engine.hub.bus.publish_moment(TypingEvent(**given))


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Peer:
    """A peer process, from the outside."""

    def __init__(self, *, database_url: str, redis_url: str) -> None:
        self._numbers = 0
        self._answers: deque[tuple[int, str, Any]] = deque()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.peer"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": database_url, "REDIS_URL": redis_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stdout().readline()  # it is ready

    def put(self, device: str, frame: dict[str, Any]) -> int:
        """Ask for a write; returns its number."""
        self._numbers += 1
        self._write([self._numbers, device, frame])
        return self._numbers

    async def answer(self) -> tuple[int, str, Any]:
        """The next answer: number, "ok" or the refusal, and what was stored."""
        line = await asyncio.to_thread(self._stdout().readline)
        number, verdict, stored = json.loads(line)
        return number, verdict, stored

    async def write(self, device: str, **frame: Any) -> tuple[str, Any]:
        """Write one thing and wait for its answer; nothing else may be under way."""
        self.put(device, frame)
        return (await self.answer())[1:]

    async def do(self, do: str, **given: Any) -> Any:
        """Begin or change a session there, or type; nothing else may be under way."""
        self._numbers += 1
        self._write([self._numbers, None, {"do": do, **given}])
        return (await self.answer())[2]

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def _write(self, line: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def _stdout(self) -> Any:
        return self._process.stdout

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=30)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    import django

    django.setup()
    asyncio.run(main())
