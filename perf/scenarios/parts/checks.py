"""What a suite looked at, how often, and how often it was as promised."""

from __future__ import annotations

from perf.coverage import Covered


class Checks:
    """Counts by name; the first failure of each is kept as its witness."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[int, int]] = {}
        self._failures: dict[str, str] = {}

    def note(self, name: str, *, held: int, of: int = 1, witness: str = "") -> None:
        """Something was looked at `of` times, and was so `held` times."""
        checked, times = self._counts.get(name, (0, 0))
        self._counts[name] = (checked + of, times + held)
        if held < of and witness:
            self._failures.setdefault(name, witness)

    def covered(self) -> list[Covered]:
        """All of them, as a run's coverage."""
        return [
            Covered(
                name=name,
                kind="always",
                checked=checked,
                held=held,
                witness=self._failures.get(name, ""),
            )
            for name, (checked, held) in self._counts.items()
        ]
