"""What a client knows about itself across restarts, as one value that a store loads."""

from __future__ import annotations

import msgspec

from messaging.protocol.client.happenings import Request


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """`outbox` is (conversation, request) pairs in order; `unsettled` names conversations whose marks the server may not have,
    `purged` what was gone where a feed began anew and has not passed it.
    """

    device: str | None = None
    user: str | None = None
    epoch: str | None = None
    cursors: dict[str, int] = {}
    reads: dict[str, int] = {}
    left: dict[str, int] = {}
    purged: dict[str, int] = {}
    unsettled: list[str] = []
    outbox: list[tuple[str, Request]] = []
