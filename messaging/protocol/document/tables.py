"""The reference tables of the protocol page, made from the code that they describe."""

from __future__ import annotations

from typing import Any

import msgspec

from messaging.protocol import frames
from messaging.protocol.codec import JSON, MSGPACK
from messaging.protocol.document.examples import STORY
from messaging.protocol.document.glossary import meaning
from messaging.protocol.errors import CloseCode, Refusal
from messaging.protocol.frames import ClientFrame, ServerFrame, Value

CLIENT_FRAMES: tuple[type[msgspec.Struct], ...] = ClientFrame.__args__
SERVER_FRAMES: tuple[type[msgspec.Struct], ...] = ServerFrame.__args__
FAR = 2**31 - 1  # a bound that no client comes near is not worth a word
VALUES = tuple(
    item
    for item in vars(frames).values()
    if isinstance(item, type) and issubclass(item, Value) and item is not Value
)


def client_frames() -> str:
    """What a client sends, field by field."""
    return "\n\n".join(struct_table(frame) for frame in CLIENT_FRAMES)


def server_frames() -> str:
    """What a server sends, field by field."""
    return "\n\n".join(struct_table(frame) for frame in SERVER_FRAMES)


def values() -> str:
    """The parts of frames, field by field."""
    return "\n\n".join(struct_table(value) for value in VALUES)


def struct_table(struct: type[msgspec.Struct]) -> str:
    """One frame or value: its sentence and its fields."""
    name = str(struct.__struct_config__.tag or struct.__name__)
    lines = [f"#### `{name}`", "", str(struct.__doc__), ""]
    fields = msgspec.structs.fields(struct)
    if fields:
        lines += ["| field | type | | meaning |", "|---|---|---|---|"]
    schemas = msgspec.json.schema_components([struct], ref_template="{name}")[1]
    properties = schemas[struct.__name__]["properties"]
    for field in fields:
        shown = _type(properties[field.encode_name])
        needed = "required" if field.required else _default(field)
        words = meaning(struct.__name__.lower(), field.encode_name)
        lines.append(f"| `{field.encode_name}` | {shown} | {needed} | {words} |")
    return "\n".join(lines)


def _default(field: msgspec.structs.FieldInfo) -> str:
    """What an absent field means; nothing where it means that there is nothing to tell."""
    value = field.default
    if value is msgspec.NODEFAULT:
        assert field.default_factory is not msgspec.NODEFAULT
        value = field.default_factory()
    if value is None:
        return ""
    return f"default `{msgspec.json.encode(value).decode()}`"


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "anyOf" in schema:
        named = [_type(option) for option in schema["anyOf"] if option != {"type": "null"}]
        return " or ".join(named)
    if "enum" in schema:
        return ", ".join(f"`{option}`" for option in schema["enum"])
    if "$ref" in schema or "pattern" in schema:
        return str(schema.get("$ref", "id"))
    return _plain_type(schema)


def _plain_type(schema: dict[str, Any]) -> str:
    kind = str(schema["type"])
    if kind == "array":
        return f"array of {_type(schema['items'])}"
    if kind == "object":
        return f"object of {_type(schema['additionalProperties'])}"
    if "minLength" in schema:
        return f"{kind} of {schema['minLength']} to {schema['maxLength']} characters"
    if schema.get("minimum", 0) > 0:
        most = schema["maximum"]
        return f"{kind} from {schema['minimum']}" + (f" to {most}" if most < FAR else "")
    return kind


def refusals() -> str:
    """Every code of `error`."""
    lines = ["| code | definite | retry_after | message |", "|---|---|---|---|"]
    for refusal in Refusal:
        wait = f"{refusal.retry_after} ms" if refusal.retry_after is not None else ""
        definite = "yes" if refusal.definite else "**no**"
        lines.append(f"| `{refusal.code}` | {definite} | {wait} | {refusal.text('…')} |")
    return "\n".join(lines)


def close_codes() -> str:
    """Every code with which the server closes."""
    lines = ["| code | reason | come back | message |", "|---|---|---|---|"]
    for code in CloseCode:
        back = "yes" if code.reconnect else "**no**"
        lines.append(f"| {int(code)} | `{code.reason}` | {back} | {code.text} |")
    return "\n".join(lines)


def limits() -> str:
    """The numbers that bound what a client may send."""
    return "\n".join(
        [
            "| limit | value |",
            "|---|---|",
            f"| UTF-8 bytes of a body | {frames.MAX_BODY_BYTES} |",
            f"| bytes of one WebSocket message | {frames.MAX_FRAME_BYTES} |",
            f"| frames in one WebSocket message | {frames.MAX_BATCH} |",
            f"| messages in one answer to `sync` | {frames.MAX_PAGE} |",
            f"| characters of a `client_id`, or of a `ref` that is text | {frames.MAX_KEY} |",
            "| marks in one `receipt` | 10000 |",
            f"| characters of a presence text | {frames.MAX_STATUS} |",
            f"| users in one `presence.watch` | {frames.MAX_WATCHED} |",
        ]
    )


def story() -> str:
    """The worked example in JSON; every line of it went through the codec."""
    parts = []
    for text, turns in STORY:
        lines = [f"{arrow} {JSON.encode(sent)!s}" for arrow, sent in turns]
        parts.append("\n".join([text, "", "```", *lines, "```"]))
    return "\n\n".join(parts)


def packed() -> str:
    """One frame of the example in both encodings."""
    sent = STORY[1][1][0][1]
    raw = MSGPACK.encode(sent)
    octets = (raw if isinstance(raw, bytes) else raw.encode()).hex(" ")
    wrapped = "\n".join(octets[start : start + 96].rstrip() for start in range(0, len(octets), 96))
    return f"```\n{JSON.encode(sent)!s}\n\n{wrapped}\n```"
