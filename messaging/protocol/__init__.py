"""The wire protocol as pure rules: no I/O, no clock, no Django.

`frames` says what crosses the socket, `errors` how it is refused, `codec` how it is written,
`client` and `server` what each end decides. Other packages import from here only.
"""

from messaging.protocol import frames
from messaging.protocol.client import happenings
from messaging.protocol.client.client import Client, Phase
from messaging.protocol.client.reconnect import LOST, may_return
from messaging.protocol.client.saved import Saved
from messaging.protocol.client.timeline import Timeline
from messaging.protocol.codec import CODECS, JSON, MSGPACK, Codec
from messaging.protocol.errors import CloseCode, FrameError, LockstepError, Refusal, Refused

__all__ = [
    "CODECS",
    "JSON",
    "LOST",
    "MSGPACK",
    "Client",
    "CloseCode",
    "Codec",
    "FrameError",
    "LockstepError",
    "Phase",
    "Refusal",
    "Refused",
    "Saved",
    "Timeline",
    "frames",
    "happenings",
    "may_return",
]
