"""How often each property was really tested: what was never exercised is not known to hold."""

from __future__ import annotations

from typing import Literal

import msgspec


class Covered(msgspec.Struct, frozen=True, kw_only=True):
    """One property. `always` must hold every time that it is checked, `sometimes` at least once."""

    name: str
    kind: Literal["always", "sometimes"]
    checked: int
    held: int
    witness: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it held; None if it was never checked, or a `sometimes` never came."""
        if self.kind == "always" and self.checked:
            return self.held == self.checked
        return True if self.held else None

    @property
    def problem(self) -> str | None:
        """What is wrong with it, in a sentence; None if nothing is."""
        if self.met:
            return None
        if self.met is False:
            return f"{self.name}: held only {self.held} of {self.checked} times"
        return f"{self.name}: never happened, so nothing is known about it"
