"""The last words of a server whose application is not asked: what came was too large to be read."""

from messaging.protocol.codec import CODECS, JSON
from messaging.protocol.errors import CloseCode
from messaging.protocol.server.answers import goodbye


def too_large(subprotocol: str | None) -> str | bytes:
    """The `goodbye` before close code 1009, as a WebSocket message of this subprotocol."""
    codec = CODECS.get(subprotocol or "", JSON)
    return codec.encode([goodbye(CloseCode.TOO_LARGE, reconnect_after=None)])
