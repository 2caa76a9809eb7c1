"""Counts, and says when it is time again."""


class Every:
    """True once for each `n` that were counted; kept until it can be used."""

    def __init__(self, n: int) -> None:
        self._n, self._count = n, 0

    def count(self, times: int = 1) -> None:
        """So many more."""
        self._count += times

    def due(self) -> bool:
        """Whether it is time; then the count begins anew."""
        if self._count < self._n:
            return False
        self._count = 0
        return True
