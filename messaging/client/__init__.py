"""Lockstep's Python client: asyncio, without Django.

    async with await Client.log_in("http://127.0.0.1:8000", username="ann", password="…") as client:
        await client.send(conversation, "hello")
        async for happening in client:
            …

`await client.set_presence(state="away", text="at lunch")` says how the user is here, `client.presence` how others are,
`client.typing(conversation)` that a key was pressed; what changes is told as `PresenceChanged` and `TypingChanged`.

`client` pumps the rules of `messaging.protocol` between a WebSocket and a `store`; `rest` holds the
few calls that are not of the socket. `python -m messaging.client` is a chat for the command line.
"""

from messaging.client.client import Client
from messaging.client.handle import ClosedError, Handle, Pending, RequestRefused
from messaging.client.rest import ApiError, Rest
from messaging.client.store import Store, StoreError
from messaging.protocol.client.patience import Patience

__all__ = [
    "ApiError",
    "Client",
    "ClosedError",
    "Handle",
    "Patience",
    "Pending",
    "RequestRefused",
    "Rest",
    "Store",
    "StoreError",
]
