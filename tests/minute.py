"""Guesses are counted by the minute: a test that counts some must not begin in one and end in the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

import pytest

from presence import attempts

T = TypeVar("T")


def hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process it stays the same time for whoever counts guesses, and for nobody else."""
    now = time.time()
    monkeypatch.setattr(attempts, "time", SimpleNamespace(time=lambda: now))


def within_one(act: Callable[[int], T]) -> T:
    """What came of `act`, done anew if a minute ended meanwhile: a server's clock can't be held.

    It is told how often it was done before, so that each time it guesses as somebody of whom nothing is counted.
    """
    before = 0
    while True:
        began = time.time() // attempts.WINDOW_S
        found = act(before)
        if time.time() // attempts.WINDOW_S == began:
            return found
        before += 1
