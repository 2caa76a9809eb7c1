"""A conversation between a client and a server, frame by frame; the page shows it as the codecs write it."""

from __future__ import annotations

from messaging.protocol.errors import Refusal
from messaging.protocol.frames import (
    MAX_BODY_BYTES,
    MAX_FRAME_BYTES,
    ConversationState,
    DeviceMark,
    DevicePresence,
    Edit,
    Error,
    Events,
    Frame,
    Hello,
    Limits,
    Mark,
    Message,
    Ok,
    Presence,
    PresenceSet,
    Receipt,
    Receipts,
    Send,
    Sync,
    Typed,
    Typing,
    UserPresence,
    Welcome,
    Window,
)
from messaging.protocol.server.admission import MAX_REQUESTS
from messaging.protocol.server.window import WINDOW_BYTES, WINDOW_MESSAGES

TEAM = "0198f3a0-0000-7000-8000-00000000c001"
ANN, BOB = "0198f3a0-0000-7000-8000-0000000000a1", "0198f3a0-0000-7000-8000-0000000000b1"
PHONE, LAPTOP = "0198f3a0-0000-7000-8000-0000000000d1", "0198f3a0-0000-7000-8000-0000000000d2"
HI, LUNCH = "0198f3a0-0000-7000-8000-000000000011", "0198f3a0-0000-7000-8000-000000000012"
TOKEN = "8Jq…"  # noqa: S105  an example
NOON = 1_767_268_800_000

_BOBS = Message(
    id=HI,
    seq=42,
    position=42,
    body="Hi Ann",
    created=NOON,
    device=LAPTOP,
    user=BOB,
    client_id="b-7",
)
_ANNS = Message(
    id=LUNCH,
    seq=43,
    position=43,
    body="Lunch?",
    created=NOON,
    device=PHONE,
    user=ANN,
    client_id="a-1",
)
_EDITED = Message(
    id=HI,
    seq=44,
    position=42,
    body="Hi Ann!",
    version=2,
    created=NOON,
    edited=NOON + 5_000,
    device=LAPTOP,
    user=BOB,
    client_id="b-7",
)

Turn = tuple[str, list[Frame]]

STORY: list[tuple[str, list[Turn]]] = [
    (
        "Ann's phone comes back. It has the team's changes up to 41; the server says that there are 42, and sends what is missing.",
        [
            ("->", [Hello(token=TOKEN, cursors={TEAM: 41}, epoch="e-1")]),
            (
                "<-",
                [
                    Welcome(
                        device=PHONE,
                        user=ANN,
                        session="0198f3a0-0000-7000-8000-00000000005e",
                        epoch="e-1",
                        window=Window(messages=WINDOW_MESSAGES, bytes=WINDOW_BYTES),
                        limits=Limits(
                            body_bytes=MAX_BODY_BYTES,
                            frame_bytes=MAX_FRAME_BYTES,
                            requests=MAX_REQUESTS,
                        ),
                        conversations=[
                            ConversationState(
                                conversation=TEAM, kind="group", since=41, last_seq=42, title="Team"
                            )
                        ],
                    ),
                    Receipts(
                        conversation=TEAM,
                        marks=[DeviceMark(device=LAPTOP, user=BOB, delivered=42, read=42)],
                    ),
                    Events(conversation=TEAM, since=41, upto=42, messages=[_BOBS]),
                ],
            ),
            ("->", [Receipt(marks=[Mark(conversation=TEAM, delivered=42)])]),
        ],
    ),
    (
        "Ann answers. The answer and the feed both tell her phone that the message is stored; whichever comes first counts.",
        [
            ("->", [Send(conversation=TEAM, client_id="a-1", body="Lunch?", ref=1)]),
            (
                "<-",
                [
                    Ok(
                        ref=1,
                        client_id="a-1",
                        message=LUNCH,
                        seq=43,
                        position=43,
                        version=1,
                        created=NOON,
                    ),
                    Events(conversation=TEAM, since=42, upto=43, messages=[_ANNS]),
                ],
            ),
        ],
    ),
    (
        "Bob mends his message: the same id, a new `seq`, the old `position`. Ann reads everything.",
        [
            ("<-", [Events(conversation=TEAM, since=43, upto=44, messages=[_EDITED])]),
            ("->", [Receipt(marks=[Mark(conversation=TEAM, delivered=44, read=44)])]),
        ],
    ),
    (
        "Bob's tablet, still at the first version, edits as well. Nothing is overwritten; it gets the message as it is.",
        [
            ("->", [Edit(message=HI, base_version=1, client_id="c-3", body="Hello Ann", ref="e")]),
            (
                "<-",
                [
                    Error(
                        code=Refusal.CONFLICT.code,
                        message=Refusal.CONFLICT.text(),
                        ref="e",
                        client_id="c-3",
                        current=_EDITED,
                    )
                ],
            ),
        ],
    ),
    (
        "A frame that starts beyond the cursor (44) is not applied but asked for.",
        [
            ("<-", [Events(conversation=TEAM, since=46, upto=47)]),
            ("->", [Sync(conversation=TEAM, since=44, ref=2)]),
        ],
    ),
    (
        "Who is here: Ann's own devices one by one, Bob folded from his. Ann goes to lunch; Bob types, and his last device goes.",
        [
            (
                "<-",
                [
                    Presence(
                        users=[
                            UserPresence(
                                user=ANN,
                                state="online",
                                devices=[DevicePresence(device=PHONE, state="online")],
                            ),
                            UserPresence(user=BOB, state="online", text="in the workshop"),
                        ]
                    )
                ],
            ),
            (
                "->",
                [PresenceSet(state="away", text="lunch", until=NOON + 3_600_000, ref=3)],
            ),
            ("<-", [Ok(ref=3)]),
            ("->", [Typing(conversation=TEAM)]),
            ("<-", [Typed(conversation=TEAM, user=BOB, typing=True)]),
            (
                "<-",
                [
                    Presence(
                        users=[
                            UserPresence(
                                user=BOB,
                                state="offline",
                                text="in the workshop",
                                last_seen=NOON + 60_000,
                            )
                        ]
                    )
                ],
            ),
        ],
    ),
]
