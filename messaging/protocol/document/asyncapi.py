"""The AsyncAPI 3 description of the socket, made from the frames."""

from __future__ import annotations

from typing import Any

import msgspec

from messaging.protocol.codec import CODECS
from messaging.protocol.document.glossary import meaning
from messaging.protocol.document.tables import CLIENT_FRAMES, SERVER_FRAMES

VERSION = "1.0.0"  # of the protocol; `lockstep.v1.*` promises its first number
CHANNEL = "#/channels/session"


def document() -> dict[str, Any]:
    """The whole description as JSON values."""
    every = [*CLIENT_FRAMES, *SERVER_FRAMES]
    schemas = msgspec.json.schema_components(every, ref_template="#/components/schemas/{name}")[1]
    for name, schema in schemas.items():
        for field, shape in schema["properties"].items():
            shape["description"] = meaning(name.lower(), field)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lockstep",
            "version": VERSION,
            "description": "Durable, ordered, gap-free messaging over one WebSocket for each device. The rules are in protocol.md.",
        },
        "defaultContentType": "application/json",
        "channels": {"session": _channel()},
        "operations": {
            "receive": _operation("receive", CLIENT_FRAMES, "What a client sends."),
            "send": _operation("send", SERVER_FRAMES, "What the server sends."),
        },
        "components": {
            "messages": {_key(frame): _message(frame) for frame in every},
            "schemas": schemas,
        },
    }


def _name(frame: type[msgspec.Struct]) -> str:
    return str(frame.__struct_config__.tag)


def _key(frame: type[msgspec.Struct]) -> str:
    """The frame's name; of the server's one that a client's frame has, too, another word."""
    name = _name(frame)
    taken = frame in SERVER_FRAMES and name in {_name(it) for it in CLIENT_FRAMES}
    return frame.__name__.lower() if taken else name


def _channel() -> dict[str, Any]:
    names = [_key(frame) for frame in (*CLIENT_FRAMES, *SERVER_FRAMES)]
    offered = {"type": "string", "enum": list(CODECS)}
    return {
        "address": "/ws/",
        "description": "A WebSocket message is one frame, or an array of frames to be taken in order.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "ws": {
                "method": "GET",
                "headers": {
                    "type": "object",
                    "properties": {
                        "Authorization": {"type": "string", "description": "Bearer <device token>"},
                        "Sec-WebSocket-Protocol": offered,
                    },
                },
            }
        },
    }


def _operation(
    action: str, frames: tuple[type[msgspec.Struct], ...], summary: str
) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": CHANNEL},
        "messages": [{"$ref": f"{CHANNEL}/messages/{_key(frame)}"} for frame in frames],
    }


def _message(frame: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "name": _name(frame),
        "summary": str(frame.__doc__),
        "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
    }
