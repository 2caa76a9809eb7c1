"""What each role hears when it says a frame of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests import scene
from tests.acceptance.world import World

Frame = dict[str, Any]

FRAMES: dict[str, Callable[[World], Frame]] = {
    "hello": lambda w: {"type": "hello"},
    "send": lambda w: _send(w, kind="text"),
    "send.attachment": lambda w: _send(w, attachments=[w.new_file()]),
    "send.reply": lambda w: _send(w, reply_to=_elsewhere(w)),
    "edit": lambda w: _change(w, "edit", body="new"),
    "delete": lambda w: _change(w, "delete"),
    "receipt": lambda w: {"type": "receipt", "marks": [{"conversation": w.room.id, "read": 1}]},
    "sync": lambda w: {"type": "sync", "conversation": w.room.id, "since": 0},
    "presence.set": lambda w: {"type": "presence.set", "text": "here"},
    "presence.watch": lambda w: {"type": "presence.watch", "users": [w.author]},
    "typing": lambda w: {"type": "typing", "conversation": w.room.id},
    "ping": lambda w: {"type": "ping"},
}


def _send(world: World, **more: Any) -> Frame:
    return {
        "type": "send",
        "conversation": world.room.id,
        "client_id": str(uuid4()),
        "body": "hi",
        **more,
    }


def _change(world: World, kind: str, **more: Any) -> Frame:
    about = {"message": world.new_message(), "base_version": 1, "client_id": str(uuid4())}
    return {"type": kind, **about, **more}


def _elsewhere(world: World) -> str:
    """A message of a conversation that nobody here is in."""
    return scene.insert(world.sql, scene.new_room(world.sql).id, "secret")


def said(world: World, role: str, kind: str) -> str:
    """What the role hears: the answer's type, a refusal's code, a close code, or `silence`."""
    with line(world, role) as socket:
        if kind == "before hello":
            heard = {answered(socket, FRAMES[one](world)) for one in FRAMES if one != "hello"}
            return " ".join(sorted(heard))
        told = {"token": world.seats[role].token} if role in world.seats else {}
        opened = answered(socket, {"type": "hello", **told})
        if kind == "hello" or opened != "welcome":
            return opened
        return answered(socket, FRAMES[kind](world))


@contextmanager
def line(world: World, role: str) -> Any:
    """A connection with the role's cookie, if it has one: no cookie opens anything."""
    cookie = world.cookies.get(role)
    headers = {"Cookie": f"sessionid={cookie}"} if cookie else {}
    with connect(
        f"ws://127.0.0.1:{world.port}/ws/",
        subprotocols=["lockstep.v1.json"],  # type: ignore[list-item]
        additional_headers=headers,
    ) as socket:
        yield socket


def answered(socket: ClientConnection, frame: Frame) -> str:
    """Say it, then listen for what bears its ref; for `typing`, which has none, for anything before a pong."""
    silent = frame["type"] == "typing"
    ref = str(uuid4())
    socket.send(
        json.dumps([frame, {"type": "ping", "ref": ref}] if silent else {**frame, "ref": ref})
    )
    try:
        while True:
            heard = json.loads(socket.recv(timeout=scene.PATIENCE_S))
            for one in heard if isinstance(heard, list) else [heard]:
                if one.get("ref") == ref or (silent and one["type"] == "error"):
                    return _name(one, silent=silent)
    except ConnectionClosed as closed:
        return str(closed.rcvd.code if closed.rcvd else None)


def _name(frame: Frame, *, silent: bool) -> str:
    if frame["type"] == "error":
        return str(frame["code"])
    if silent:
        return "silence"
    return str(len(frame.get("users", []))) if frame["type"] == "presence" else str(frame["type"])
