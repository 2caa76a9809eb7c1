"""What the server says in answer to a request, and its last word, as frames."""

from __future__ import annotations

from collections.abc import Iterator

from messaging.protocol import frames
from messaging.protocol.errors import CloseCode, FrameError, Refused
from messaging.protocol.server.actions import Identity, Stored, Write
from messaging.protocol.server.admission import MAX_REQUESTS
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.resume import Resumption, announced
from messaging.protocol.server.window import Window

LISTED = 200  # conversations in `welcome` itself; the rest follow as `conversation` frames
LIMITS = frames.Limits(
    body_bytes=frames.MAX_BODY_BYTES, frame_bytes=frames.MAX_FRAME_BYTES, requests=MAX_REQUESTS
)


def opening(
    hello: frames.Hello, identity: Identity, plan: Resumption, *, epoch: str, window: Window
) -> Iterator[frames.ServerFrame]:
    """The answer to `hello`: welcome, what is to be forgotten, and what did not fit into welcome."""
    yield frames.Welcome(
        device=identity.device,
        user=identity.user,
        session=identity.session,
        epoch=epoch,
        window=frames.Window(messages=window.max_messages, bytes=window.max_bytes),
        limits=LIMITS,
        conversations=plan.listed[:LISTED],
        ref=hello.ref,
    )
    yield from plan.resets
    for state in plan.listed[LISTED:]:
        yield announced(state)
    yield from plan.over
    # Bounded: a stranger may name as many as a frame holds.
    for conversation in plan.foreign[:LISTED]:
        yield frames.Left(conversation=conversation, upto=0)


def stored(frame: Write, outcome: Stored) -> frames.Ok:
    """The answer to a write that is committed."""
    return frames.Ok(
        ref=frame.ref,
        client_id=frame.client_id,
        message=outcome.message,
        seq=outcome.seq,
        position=outcome.position,
        version=outcome.version,
        created=outcome.created,
    )


def page(batch: Batch, *, ref: frames.Reference | None) -> frames.Events:
    """The answer to a `sync`."""
    return frames.Events(
        conversation=batch.conversation,
        since=batch.since,
        upto=batch.upto,
        messages=batch.messages,
        ref=ref,
    )


def nothing(batch: Batch, *, ref: frames.Reference | None) -> frames.Events:
    """The answer to a `sync` whose conversation starts anew: what there is follows by itself."""
    return frames.Events(conversation=batch.conversation, since=0, upto=0, ref=ref)


def refused(why: Refused, asked: frames.ClientFrame | FrameError) -> frames.Error:
    """The answer to what is not done; it echoes what names the request."""
    refusal = why.refusal
    return frames.Error(
        code=refusal.code,
        message=refusal.text(why.detail),
        definite=why.definite,
        retry_after=why.retry_after,
        ref=getattr(asked, "ref", None),
        client_id=getattr(asked, "client_id", None),
        current=why.current,
    )


def goodbye(code: CloseCode, *, reconnect_after: int | None) -> frames.Goodbye:
    """The last word; `reconnect_after` (ms) is told only for codes that permit coming back."""
    return frames.Goodbye(
        reason=code.reason,
        message=code.text,
        reconnect_after=reconnect_after if code.reconnect else None,
    )
