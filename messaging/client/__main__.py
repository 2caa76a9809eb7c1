"""A chat for the command line: `python -m messaging.client --url … --username … --conversation …`.

Lines of the standard input are sent, every change is printed as `seq`, author, body, tab separated.
With --outbox FILE, what was typed survives a `kill -9`, and nothing is printed twice after a restart.
A device that signed in can --offer-link; another one comes in with --link CODE and keeps its --token FILE.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Coroutine
from contextlib import suppress
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from unicodedata import category
from uuid import UUID

from messaging.client import (
    ApiError,
    Client,
    ClosedError,
    RequestRefused,
    Rest,
    Store,
    StoreError,
)
from messaging.client.rest import read_link
from messaging.protocol import JSON, MSGPACK, Codec, Refused
from messaging.protocol.client.happenings import Applied, Declined, Disconnected
from messaging.protocol.content import is_id
from messaging.protocol.frames import Message

T = TypeVar("T")

COMMANDS = {"Cc", "Zl", "Zp"}  # Unicode's categories of control characters and ends of lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m messaging.client", description="Chat in one conversation."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (%(default)s)")
    parser.add_argument("--username")
    parser.add_argument("--password", help="asked for if absent")
    parser.add_argument("--conversation", help="its id; the first of yours if absent")
    parser.add_argument("--outbox", help="a file that keeps outbox, cursors and messages")
    parser.add_argument("--name", default="command line", help="of this device (%(default)s)")
    parser.add_argument("--json", action="store_true", help="speak JSON instead of MessagePack")
    parser.add_argument(
        "--link",
        metavar="CODE",
        help="a link code, or what its QR code says, instead of a user name",
    )
    parser.add_argument("--token", type=Path, metavar="FILE", help="keeps a linked device's token")
    parser.add_argument(
        "--offer-link", action="store_true", help="print a link code for another device, and end"
    )
    arguments = parser.parse_args()
    if not (arguments.username or arguments.link or arguments.token):
        parser.error("give --username NAME, or --link CODE, or --token FILE of a linked device")
    if arguments.conversation and not is_id(arguments.conversation):
        parser.error(
            f"--conversation takes an id, as {UUID(int=0)}; {arguments.conversation} is none"
        )
    if arguments.link and "://" in arguments.link:
        try:
            arguments.url, arguments.link = read_link(arguments.link)
        except ValueError as error:
            parser.error(str(error))
    return arguments


async def _first_conversation(client: Client) -> str:
    found: Any = await client.rest.call("GET", "/conversations?limit=1")
    if not found["conversations"]:
        raise SystemExit("You are in no conversation yet; create one on the page or over REST.")
    return str(found["conversations"][0]["conversation"])


async def _chat(arguments: argparse.Namespace) -> int:
    client = await _sign_in(arguments)
    async with client:
        if arguments.offer_link:
            offer = await client.rest.link_code()
            print(f"{offer.code}\n{offer.qr}")
            return 0
        conversation = arguments.conversation or await _first_conversation(client)
        screen = Screen(client, conversation)
        newest = await _type(client, conversation, screen)
        await client.settled()
        await screen.until(newest)
        return int(screen.is_over)


async def _sign_in(arguments: argparse.Namespace) -> Client:
    codec = JSON if arguments.json else MSGPACK
    if arguments.link:
        return await _link(arguments, codec)
    if not arguments.username:
        token = _kept_token(arguments.token)
        return Client(arguments.url, token=token, outbox=arguments.outbox, codec=codec)
    return await Client.log_in(
        arguments.url,
        username=arguments.username,
        password=arguments.password or getpass.getpass(),
        name=arguments.name,
        outbox=arguments.outbox,
        codec=codec,
    )


async def _link(arguments: argparse.Namespace, codec: Codec) -> Client:
    """Come in with a code; whether the token can be kept is found out before the code is spent."""
    _claim(arguments.token)
    store = Store(arguments.outbox)
    try:
        token = await Rest(url=arguments.url).link(
            arguments.link, installation=store.installation(), name=arguments.name
        )
        if arguments.token:
            arguments.token.write_text(f"{token}\n")
    except BaseException:
        store.close()
        raise
    return Client(arguments.url, token=token, outbox=store, codec=codec)


def _claim(path: Path | None) -> None:
    """Have a file that can be written and nobody else may read, if there is to be one; what is in it stays."""
    if path is not None:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.open("a").close()


def _kept_token(path: Path) -> str:
    token = path.read_text().strip()
    if not token:
        raise SystemExit(f"{path} holds no token; link this device again with --link CODE.")
    return token


def _lines() -> asyncio.Queue[str]:
    """The lines of the standard input, then an empty one.

    Their thread is one that nobody waits for: a terminal may never bring another line.
    """
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[str]()

    def read() -> None:
        with suppress(RuntimeError), open(0, errors="surrogateescape", closefd=False) as typed:
            for line in chain(typed, [""]):
                loop.call_soon_threadsafe(lines.put_nowait, line)  # until the loop is closed

    Thread(target=read, name="lockstep-lines", daemon=True).start()
    return lines


async def _type(client: Client, conversation: str, screen: Screen) -> int:
    """Send each line of the input. Returns, when all are answered, the newest one's `seq`."""
    handles, newest, lines = [], 0, _lines()
    while line := await screen.meanwhile(lines.get()):
        if line.strip():
            try:
                handles.append(client.send(conversation, line.rstrip("\n")))
            except Refused as refused:
                print(f"# {refused}", file=sys.stderr)
    for handle in handles:
        with suppress(RequestRefused):  # the screen tells it
            newest = max(newest, (await handle).seq)
    return newest


class Screen:
    """Prints what happens in one conversation."""

    def __init__(self, client: Client, conversation: str) -> None:
        self._client, self._conversation = client, conversation
        self._upto = 0
        self._grown = asyncio.Condition()
        self._task = asyncio.create_task(self._print())

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be printed: the server said not to come back, or the store is full."""
        return self._task.done()

    async def meanwhile(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` brings, or None if the screen is over before. Raises what ended it, as OSError of a closed pipe."""
        waiting = asyncio.ensure_future(work)
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        self._task.result()
        return None

    async def until(self, seq: int) -> None:
        """Wait until the change of this number is printed."""
        await self.meanwhile(self._reached(seq))

    async def _reached(self, seq: int) -> None:
        async with self._grown:
            await self._grown.wait_for(lambda: self._upto >= seq)

    async def _print(self) -> None:
        async for happening in self._client:
            match happening:
                case Applied() if happening.conversation == self._conversation:
                    await self._show(happening)
                case Declined():
                    print(f"# {happening.error.message}", file=sys.stderr, flush=True)
                case Disconnected():
                    print(f"# {happening.reason}", file=sys.stderr, flush=True)

    async def _show(self, applied: Applied) -> None:
        for message in applied.messages:
            print(line_of(message), flush=True)
        self._client.read(applied.conversation, applied.upto)
        async with self._grown:
            self._upto = applied.upto
            self._grown.notify_all()


def line_of(message: Message) -> str:
    """A message as one line: its author can neither begin another one nor command the terminal."""
    body = "(deleted)" if message.deleted else "".join(map(_visible, message.body))
    return f"{message.seq}\t{message.user or '-'}\t{body}"


def _visible(char: str) -> str:
    return ascii(char)[1:-1] if category(char) in COMMANDS else char


def main() -> int:
    """Run the chat. Returns the exit code."""
    try:
        return asyncio.run(_chat(_arguments()))
    except (ApiError, ClosedError, StoreError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
