"""A chat for the command line: `python -m messaging.client --url … --username … --conversation …`.

Lines of the standard input are sent, every change is printed as `seq`, author, body, tab separated.
With --outbox FILE, what was typed survives a `kill -9`, and nothing is printed twice after a restart.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from typing import Any

from messaging.client import ApiError, Client, RequestRefused, StoreError
from messaging.protocol import JSON, MSGPACK, Refused
from messaging.protocol.frames import Message
from messaging.protocol.happenings import Applied, Disconnected


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m messaging.client", description="Chat in one conversation."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server (%(default)s)")
    parser.add_argument("--username", required=True)
    parser.add_argument("--password", help="asked for if absent")
    parser.add_argument("--conversation", help="its id; the first of yours if absent")
    parser.add_argument("--outbox", help="a file that keeps outbox, cursors and messages")
    parser.add_argument("--name", default="command line", help="of this device (%(default)s)")
    parser.add_argument("--json", action="store_true", help="speak JSON instead of MessagePack")
    return parser.parse_args()


async def _first_conversation(client: Client) -> str:
    found: Any = await client.rest.call("GET", "/conversations?limit=1")
    if not found["conversations"]:
        raise SystemExit("You are in no conversation yet; create one on the page or over REST.")
    return str(found["conversations"][0]["conversation"])


async def _chat(arguments: argparse.Namespace) -> int:
    password = arguments.password or getpass.getpass()
    client = await Client.log_in(
        arguments.url,
        username=arguments.username,
        password=password,
        name=arguments.name,
        outbox=arguments.outbox,
        codec=JSON if arguments.json else MSGPACK,
    )
    async with client:
        conversation = arguments.conversation or await _first_conversation(client)
        printer = asyncio.create_task(_print(client, conversation))
        try:
            await _type(client, conversation)
        finally:
            printer.cancel()
    return 0


async def _type(client: Client, conversation: str) -> None:
    """Send each line; at the end of the input wait for the answers."""
    handles = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.strip():
            try:
                handles.append(client.send(conversation, line.rstrip("\n")))
            except Refused as refused:
                print(refused, file=sys.stderr)
    for handle in handles:
        try:
            await handle
        except RequestRefused as refused:
            print(refused, file=sys.stderr)


async def _print(client: Client, conversation: str) -> None:
    async for happening in client:
        if isinstance(happening, Applied) and happening.conversation == conversation:
            for message in happening.messages:
                print(_line(message), flush=True)
            client.read(conversation)
        elif isinstance(happening, Disconnected):
            print(f"# {happening.reason}", file=sys.stderr, flush=True)


def _line(message: Message) -> str:
    body = "(deleted)" if message.deleted else message.body.replace("\n", "\\n")
    return f"{message.seq}\t{message.user or '-'}\t{body}"


def main() -> int:
    """Run the chat. Returns the exit code."""
    try:
        return asyncio.run(_chat(_arguments()))
    except (ApiError, StoreError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
