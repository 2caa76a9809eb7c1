"""The anomalies by name, in the field's terms, and what is tolerated and why. Nothing is filtered silently."""

from __future__ import annotations

from typing import Final

PROPERTIES: Final = {
    "lost": "every change reaches every device of every member",
    "duplicated": "nothing is stored twice, and nothing is sent twice within a session",
    "reordered": "frames and the changes in them arrive in the order of their numbers",
    "diverged order": "all devices see the same changes under the same numbers",
    "gap": "numbers have no holes, neither in the store nor between a device's frames",
    "phantom": "nothing is stored or shown that nobody wrote",
    "misrouted": "nothing is shown to who is not entitled to it, taken from who is not in the conversation, or in another",
    "corrupt": "what was sent is what is stored and shown",
    "resurrected": "no message goes back to an earlier version, no deletion is undone",
    "stale read": "a read shows everything that was known before it was asked",
    "aborted read": "nothing is stored or shown that was refused for good",
    "lost ack": "what was promised is stored",
    "inconsistent": "promises, frames and store agree about every message",
    "resume gap": "a resumed feed begins no later than at the device's cursor",
    "resume replay": "a resumed feed begins no earlier than at the device's cursor",
    "receipt regression": "marks that a device is shown never go back",
    "read before delivered": "no mark says read beyond delivered",
    "phantom receipt": "no mark is ahead of what its device said, or of the conversation",
    "lost receipt": "what a device marked is stored and shown to the others",
    "realtime inversion": "what was sent after something was known comes after it",
    "nonmonotonic send": "requests of one device to one conversation are stored in the order sent",
    "delivery after a fence": "after leaving, and after a revocation has answered, nothing more comes",
    "misrouted presence": "who shares no conversation with somebody is not shown that they are here",
    "ghost online": "who has gone is shown as offline in time",
    "ghost offline": "who is here is shown as here in time",
    "cursor drift": "the client's own cursors are what the one rule gives",
}
"""What must always hold, by the name of the anomaly that breaks it."""

NAMES: Final = tuple(PROPERTIES)

SECURITY: Final = frozenset({"misrouted", "misrouted presence", "delivery after a fence"})
"""Anomalies that show somebody what is not for them."""

TOLERATED: Final = {
    "recovered": "A request without an answer may have been stored: the client can't know, and asks again "
    "under the same key until it does.",
    "superseded": "A device that catches up gets only the newest state of a message; the changes that it "
    "replaced are no loss.",
    "repeated after a resume": "A device that came back with an older cursor than it had is sent again "
    "what it forgot.",
    "repeated after a question": "The answer to `sync` begins at the cursor of the moment when the device "
    "asked, so it may overlap with what came meanwhile.",
    "marks read again": "After a welcome the marks are read from the database, and may be overtaken by "
    "newer ones on their way; the greatest counts.",
    "written elsewhere": "Messages that no device of the run sent may be of SQL, the admin, the server itself or an "
    "earlier run: nothing is known of them but that all see the same. Where nobody else writes, they are phantoms.",
    "begun anew": "Who is told to forget a conversation gets it from its beginning: after a restored backup, or an "
    "absence that was longer than deletions are kept.",
    "out of reach": "What is shown to a device that a fault keeps out of reach stands still, and others are shown "
    "that its user has gone, or has not, as the server can know: from the fault's beginning to its end.",
    "out of sight": "Who shares no conversation with somebody any more is shown that they are offline, also "
    "while they are here.",
}
"""What looks like an anomaly and is none, with the reason."""

SOMETIMES: Final = {
    "concurrent requests": "two devices had requests to one conversation on their way at once",
    "retried request": "a request that was in doubt or refused for the moment was answered in the end",
    "recovered request": "a request whose answer never came turned out to be stored",
    "resume": "a device came back and went on at its cursor",
    "catch-up": "a device came back and was missing changes",
    "compaction": "a frame left out changes that later ones had replaced",
    "edit while offline": "a message was edited while a device that has it was away",
    "deletion seen": "a deletion reached a device",
    "leaving": "a member left while the others went on",
    "late joiner": "a user was added while the run went on",
    "fault felt": "a fault had an effect",
    "several workers": "more than one process generated the load",
}
"""Situations that a run may come by, and a scenario may demand: without them it has shown little."""
