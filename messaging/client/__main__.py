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
from contextlib import suppress
from pathlib import Path
from typing import Any

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
from messaging.protocol.frames import Message


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
        newest = await _type(client, conversation)
        await client.settled()
        await screen.until(newest)
    return 0


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
    _keep(arguments.token, "")
    store = Store(arguments.outbox)
    try:
        token = await Rest(url=arguments.url).link(
            arguments.link, installation=store.installation(), name=arguments.name
        )
        _keep(arguments.token, f"{token}\n")
    except BaseException:
        store.close()
        raise
    return Client(arguments.url, token=token, outbox=store, codec=codec)


def _keep(path: Path | None, text: str) -> None:
    """Write the file that nobody else may read, if there is to be one."""
    if path is not None:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(text)


def _kept_token(path: Path) -> str:
    token = path.read_text().strip()
    if not token:
        raise SystemExit(f"{path} holds no token; link this device again with --link CODE.")
    return token


async def _type(client: Client, conversation: str) -> int:
    """Send each line of the input. Returns, when all are answered, the newest one's `seq`."""
    handles, newest = [], 0
    while line := await asyncio.to_thread(sys.stdin.readline):
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

    async def until(self, seq: int) -> None:
        """Wait until the change of this number is printed."""
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
            print(_line(message), flush=True)
        self._client.read(applied.conversation, applied.upto)
        async with self._grown:
            self._upto = applied.upto
            self._grown.notify_all()


def _line(message: Message) -> str:
    body = "(deleted)" if message.deleted else message.body.replace("\n", "\\n")
    return f"{message.seq}\t{message.user or '-'}\t{body}"


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
