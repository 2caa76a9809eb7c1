"""What a client knows about itself across restarts, as one value that a store loads."""

from __future__ import annotations

import msgspec

from messaging.protocol.client.happenings import Request
from messaging.protocol.frames import Welcome

ANOTHER_USER = "What is stored here is another user's; give each user a store of their own."
ANOTHER_DEVICE = "What is stored here is another device's; give each device a store of its own."


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


def not_ours(it: Welcome, *, user: str | None, device: str | None, epoch: str | None) -> str:
    """Why what is stored may not be said in this session; "" if it may be.

    One would speak with another user's words. A key of one device is none of another's: what is stored, and was
    not answered, would be posted twice; but not in another database, which has nothing of a device that it does not know.
    """
    if user not in (None, it.user):
        return ANOTHER_USER
    return ANOTHER_DEVICE if device not in (None, it.device) and epoch == it.epoch else ""
