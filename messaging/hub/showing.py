"""What one look at presence has to show: the entries for each session, made once and sent together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from messaging import metrics
from messaging.hub.circles import Change, Circle, Circles, user_of
from messaging.hub.topic import Link
from messaging.protocol.frames import DevicePresence, Presence, PresenceWatch, UserPresence
from messaging.protocol.server.outgoing import MOST_USERS
from presence.liveness import View


class Showing:
    """Collects entries by session; `offer` hands them over. The newest of what it is told counts."""

    def __init__(
        self, circles: Circles, shown: Mapping[str, View], own: Mapping[str, View]
    ) -> None:
        self._circles, self._shown, self._own = circles, shown, own
        self._due: dict[Link, dict[str, UserPresence]] = {}
        self._entries: dict[str, UserPresence] = {}

    def touch(self, link: Link) -> dict[str, UserPresence]:
        """The session gets a frame, even if nobody is in it."""
        return self._due.setdefault(link, {})

    def news(self, user: str, *, first: bool) -> None:
        """A user is otherwise than before; whoever is looked at for the `first` time may be simply offline."""
        if not (first and self._is_blank(user)):
            for link in self._circles.viewers(user):
                self.touch(link)[user] = self._entry(user)

    def to_self(self, user: str, links: Iterable[Link]) -> None:
        """A user's own sessions see more than others do."""
        entry = entry_of(self._own[user])
        for link in links:
            self.touch(link)[user] = entry

    def changed(self, change: Change) -> None:
        """A circle was read again: show who came to it, hide who went."""
        circle = change.circle
        went = change.went if circle.asked is None else change.went.intersection(circle.asked)
        for link in circle.links:
            viewer = user_of(link)
            if viewer in change.came:
                self._show(link, circle.members)
            elif viewer in circle.members:
                self._show(link, change.came)
                self.hide(link, went, other_than=circle)
            elif viewer in change.went:
                self.hide(link, {*circle.members, *change.went}, other_than=circle)

    def entered(self, link: Link, conversations: Iterable[str]) -> None:
        """A session is new, or new in these conversations."""
        viewer = user_of(link)
        entries = self.touch(link)
        if viewer in self._own:
            entries[viewer] = entry_of(self._own[viewer])
        for conversation in conversations:
            circle = self._circles.get(conversation)
            if circle is not None and viewer in circle.members:
                self._show(link, circle.members)

    def _show(self, link: Link, users: Iterable[str]) -> None:
        viewer, entries = user_of(link), self.touch(link)
        for user in users:
            if user != viewer and user in self._shown and not self._is_blank(user):
                entries[user] = self._entry(user)

    def hide(self, link: Link, users: Iterable[str], *, other_than: Circle) -> None:
        """Tell nothing more of these users, unless the session sees them in another circle."""
        viewer = user_of(link)
        for user in users:
            if user != viewer and not self._circles.sees(link, user, other_than=other_than):
                self.touch(link)[user] = UserPresence(user=user, state="offline")

    def answer(self, link: Link, frame: PresenceWatch, *, stale: bool) -> None:
        """Answer a watch list: how everyone is whom the session may see."""
        circle, viewer = self._circles.get(link), user_of(link)
        users = []
        for user in dict.fromkeys(frame.users):
            if user == viewer and user in self._own:
                users.append(entry_of(self._own[user]))
            elif circle is not None and user in circle.members and user in self._shown:
                users.append(self._entry(user))
        link.session.answer_watch(frame, users, stale=stale)
        link.wake()

    def offer(self, *, stale: bool) -> None:
        """Hand everything to the sessions; who sees the same shares the encoded frame."""
        encoded: dict[tuple[object, ...], bytes] = {}
        for link, entries in self._due.items():
            codec = link.session.codec
            for users in _parts(list(entries.values())):
                key = (codec.binary, *map(id, users))
                if key not in encoded:
                    encoded[key] = codec.part(Presence(users=users, stale=stale))
                link.session.offer_presence(users, encoded[key], stale=stale)
                metrics.presence_frames.inc()
            if link.session.ready:
                link.wake()
        self._due.clear()

    def _is_blank(self, user: str) -> bool:
        return self._shown[user] == View(user=user)

    def _entry(self, user: str) -> UserPresence:
        entry = self._entries.get(user)
        if entry is None:
            entry = self._entries[user] = entry_of(self._shown[user])
        return entry


def entry_of(view: View) -> UserPresence:
    """A view as the wire has it."""
    return UserPresence(
        user=view.user,
        state=view.state,
        text=view.text,
        until=view.until,
        last_seen=view.last_seen,
        invisible=view.invisible,
        devices=[DevicePresence(device=device, state=state) for device, state in view.devices],
    )


def _parts(users: list[UserPresence]) -> list[list[UserPresence]]:
    starts = range(0, max(len(users), 1), MOST_USERS)
    return [users[start : start + MOST_USERS] for start in starts]
