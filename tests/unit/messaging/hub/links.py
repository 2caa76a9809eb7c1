"""An open session without a socket, and what it was given."""

from __future__ import annotations

from messaging.protocol.codec import JSON, Codec
from messaging.protocol.frames import Frame, Hello, ServerFrame
from messaging.protocol.server.actions import Identity, Standing
from messaging.protocol.server.session import Session


class Seen:
    """A link of a user's device, live in these conversations at change 1."""

    def __init__(self, user: str, *conversations: str, codec: Codec = JSON) -> None:
        self.session = Session(codec)
        self.woken = 0
        self.say(Hello(token="t"))
        standings = [
            Standing(conversation=name, kind="group", title="", last_seq=1, joined_seq=1)
            for name in conversations
        ]
        identity = Identity(device=f"{user}'s", user=user, session="s")
        self.session.open(identity, standings, epoch="e")
        for name in conversations:
            feed = self.session.feeds.get(name)
            assert feed is not None
            feed.cursor = 1
            self.session.feeds.settle(name, position=1)
        self.heard()

    def wake(self) -> None:
        self.woken += 1

    def say(self, *frames: Frame) -> list[object]:
        return list(self.session.receive(self.session.codec.encode(frames)))

    def heard(self) -> list[ServerFrame]:
        """What it was given since the last call."""
        frames: list[ServerFrame] = []
        while (data := self.session.outgoing()) is not None:
            frames += self.session.codec.decode_server(data)
        return frames
