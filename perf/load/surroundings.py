"""What all devices of a fleet have in common."""

from __future__ import annotations

from dataclasses import dataclass

from perf.history.recorder import Recorder
from perf.load.observer import Observer
from perf.load.wire import Pages


@dataclass(kw_only=True)
class Surroundings:
    """`url` is the server's http address; `observer` may change; `reads`: devices read what arrives at once.

    `copies` says how often each WebSocket message is written: more than once is a fault.
    """

    url: str
    recorder: Recorder
    observer: Observer
    pages: Pages
    reads: bool = False
    copies: int = 1
