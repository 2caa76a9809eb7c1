"""Who is typing, handed on at once and never stored: to the conversation's sessions here, and to the bus.

Law: it tells of the moment, so what can't be shown now is dropped: without the lease, to a session that
does not keep up, or while changes before it are not here yet, for one of them may be the viewer's end.
Whoever is invisible does not type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from messaging.hub.bus import Bus
from messaging.hub.circles import user_of
from messaging.hub.events import TypingEvent
from messaging.hub.topic import Link, Topic
from messaging.protocol.frames import Typed, Typing
from presence.roster import Roster


class Typists:
    """Shows typing in the watched conversations."""

    def __init__(
        self,
        topics: Mapping[str, Topic],
        roster: Roster,
        bus: Bus,
        *,
        is_hidden: Callable[[str], bool],
    ) -> None:
        self._topics, self._roster, self._bus, self._is_hidden = topics, roster, bus, is_hidden

    def say(self, link: Link, frame: Typing) -> None:
        """A session here says that its user is typing, or not any more."""
        topic = self._topics.get(frame.conversation)
        if topic is None or link.session.identity is None or self._is_hidden(user_of(link)):
            return
        event = TypingEvent(
            conversation=frame.conversation,
            user=user_of(link),
            device=link.session.identity.device,
            typing=frame.typing,
            upto=topic.position,
        )
        self.show(event)
        self._bus.publish_moment(event)

    def show(self, event: TypingEvent) -> None:
        """Show it to the sessions here, but not to the typing user's own."""
        topic = self._topics.get(event.conversation)
        if topic is None or event.upto > topic.position or not self._roster.alive:
            return
        frame = Typed(conversation=event.conversation, user=event.user, typing=event.typing)
        encoded: dict[bool, bytes] = {}
        for link in topic.links:
            if user_of(link) == event.user:
                continue
            codec = link.session.codec
            if codec.binary not in encoded:
                encoded[codec.binary] = codec.part(frame)
            link.session.offer_typing(event.conversation, encoded[codec.binary])
            if link.session.ready:
                link.wake()
