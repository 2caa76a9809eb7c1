"""A trouble that is met at every try: told when it begins and when it is over, not each time."""

from __future__ import annotations

import logging
from time import monotonic


class Outage:
    """What `what` says can't be done for now, for example "marks can't be stored"."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger, self._what = logger, what
        self._kind: type[BaseException] | None = None
        self._since = 0.0

    def met(self, error: BaseException, *, ours: bool = False) -> None:
        """It failed: say so the first time, and when it fails otherwise than before; `ours` with a stack trace."""
        if self._kind is None:
            self._since = monotonic()
        if type(error) is not self._kind:
            self._kind = type(error)
            level = logging.ERROR if ours else logging.WARNING
            self._logger.log(
                level,
                "%s, it is tried again until it works: %s",
                self._what,
                str(error).partition("\n")[0] or type(error).__name__,
                exc_info=error if ours else None,
            )

    def over(self) -> None:
        """It worked: say for how long it had not."""
        if self._kind is not None:
            self._kind = None
            self._logger.warning("over after %.1f s: %s", monotonic() - self._since, self._what)
