"""How other users are, and the own user as others see them, as far as this device was told.

Laws: by its first `presence` frame that is neither stale nor an answer a session has named everybody who is
not simply offline, every later one only changes. What is known is stale while there is no session, or while the server says so.
"""

from __future__ import annotations

from collections.abc import Container

from messaging.protocol.client.happenings import PresenceChanged
from messaging.protocol.frames import Presence, UserPresence


class Others:
    """The newest presence told of each user; who is not in it is offline, as far as one can know."""

    def __init__(self) -> None:
        self.users: dict[str, UserPresence] = {}
        self.stale = True
        # Whom the session has named; None once that is everybody who is not offline.
        self._named: set[str] | None = set()

    def restart(self) -> None:
        """A new session is open."""
        self._named = set()

    def lose(self) -> list[PresenceChanged]:
        """The connection is lost: what is known stays, but may be wrong by now."""
        was_stale, self.stale = self.stale, True
        return [] if was_stale else [PresenceChanged(users=[], stale=True)]

    def heard(self, frame: Presence) -> list[PresenceChanged]:
        """The server told how users are."""
        told = {one.user: one for one in frame.users}
        changed = [one for one in told.values() if self.users.get(one.user) != one]
        if self._named is not None:
            self._named |= told.keys()
            if frame.ref is None and not frame.stale:
                changed += self._gone(self._named)
                self._named = None
        self.users |= told
        was_stale, self.stale = self.stale, frame.stale
        if not changed and was_stale == self.stale:
            return []
        return [PresenceChanged(users=changed, stale=self.stale)]

    def _gone(self, named: Container[str]) -> list[UserPresence]:
        """Forget whom the session has not named; returns those who were here."""
        gone = [self.users.pop(user) for user in list(self.users) if user not in named]
        return [
            UserPresence(user=one.user, state="offline") for one in gone if one.state != "offline"
        ]
