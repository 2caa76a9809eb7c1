"""The wire protocol as pure rules: no I/O, no clock, no Django.

`frames` says what crosses the socket, `errors` how it is refused, `codec` how it is written,
`client` and `server` what each end decides. Other packages import from here only.
"""

from messaging.protocol import frames, happenings
from messaging.protocol.client import Client, Phase
from messaging.protocol.codec import CODECS, JSON, MSGPACK, Codec
from messaging.protocol.errors import CloseCode, FrameError, LockstepError, Refusal, Refused
from messaging.protocol.reconnect import LOST, may_return
from messaging.protocol.saved import Saved
from messaging.protocol.timeline import Timeline

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
