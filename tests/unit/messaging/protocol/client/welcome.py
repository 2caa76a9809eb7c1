"""A server's welcome, and a client that has heard it."""

from messaging.protocol import Client
from messaging.protocol.frames import Limits, Welcome, Window

WELCOME = Welcome(
    device="d1",
    user="u1",
    session="s1",
    epoch="e1",
    window=Window(messages=1000, bytes=65536),
    limits=Limits(body_bytes=65536, frame_bytes=1000, requests=256),
)


def opened(client: Client | None = None, *, welcome: Welcome = WELCOME) -> Client:
    """A client that has heard welcome, of this connection."""
    client = client or Client(token="t", random=lambda: 0.5)
    client.connect(0)
    client.opened(0)
    client.due(0)
    client.received([welcome], 0)
    return client
