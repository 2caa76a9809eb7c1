"""Ways to break a real server on purpose, to see whether the judge notices.

Nothing of it is in the product: `settings` is what the rig starts a server with, and one app then
patches the product from outside. `guard` refuses any server that the rig has not started on a
database of its own. This module is only data.
"""

from __future__ import annotations

from typing import NamedTuple

VARIABLE = "LOCKSTEP_SABOTAGE"
SETTINGS = "perf.sabotage.settings"

LEAK = "leaked connection"
"""The one anomaly that no history shows: rows of sessions that are over."""


class Sabotage(NamedTuple):
    """What is done to the server, and the anomaly that it must be convicted of."""

    name: str
    what: str
    anomaly: str


ALL = (
    Sabotage("drop", "every 1,000th delivery is left out of its frame", "lost"),
    Sabotage("ack", "every 12th batch is acknowledged and forgotten", "lost ack"),
    Sabotage("swap", "two changes of a frame change places", "reordered"),
    Sabotage("repeat", "a frame is sent twice", "duplicated"),
    Sabotage("resurrect", "a deleted message is delivered as it was", "resurrected"),
    Sabotage("redate", "every 100th delivery shows another moment", "inconsistent"),
    Sabotage("leave", "who leaves is still sent what follows", "delivery after a fence"),
    Sabotage("revocation", "a revocation answers, but ends no session", "delivery after a fence"),
    Sabotage("receipt", "older marks are shown after newer ones", "receipt regression"),
    Sabotage("leak", "sessions that ended are not signed off", LEAK),
    Sabotage("idempotency", "a repeated request is stored once more", "duplicated"),
)
"""In the order in which they are tried; the last one changes the database."""

OWN = (
    Sabotage("early", "a batch is announced before it is committed", "told before it was stored"),
    Sabotage("eager", "what was written to a socket counts as delivered", "phantom receipt"),
    Sabotage("overwrite", "the version that a change is based on is not looked at", "two winners"),
    Sabotage("late", "every 40th batch is announced 150 ms after its commit", "T2"),
)
"""Those that only a suite of their own can see: `perf e2e NAME --sabotage …` must call them invalid."""

BY_NAME = {one.name: one for one in (*ALL, *OWN)}
