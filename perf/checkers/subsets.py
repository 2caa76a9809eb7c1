"""Parts of a history that are histories themselves: of one conversation, without devices, messages, events."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from perf.history.events import (
    Acked,
    Added,
    AnyEvent,
    AnyStored,
    Change,
    Cursors,
    Delivered,
    Fetched,
    Marked,
    MarkSeen,
    Opened,
    Page,
    PresenceSeen,
    Refused,
    Removed,
    Sent,
    Stay,
    StoredConversation,
    StoredMark,
)
from perf.history.memory import History

replace = msgspec.structs.replace


def only_conversation(history: History, name: str) -> History:
    """What concerns this conversation, and the sessions."""
    files = [list(narrowed(events, name)) for events in history.files]
    stored = [line for line in history.stored or () if line.conversation == name]
    return History(files, None if history.stored is None else stored)


def narrowed(events: Iterable[AnyEvent], name: str) -> Iterator[AnyEvent]:
    """What of a file's events concerns this conversation, and the sessions."""
    keys, pages = set[str](), set[int]()
    for event in events:
        if isinstance(event, Sent) and event.conversation == name:
            keys.add(event.client_id)
        elif isinstance(event, Page) and event.conversation == name:
            pages.add(event.page)
        kept = _narrowed(event, name, keys, pages)
        if kept is not None:
            yield kept


def _narrowed(event: AnyEvent, name: str, keys: set[str], pages: set[int]) -> AnyEvent | None:
    match event:
        case Opened():
            hello, welcome = _only(event.hello, name), _only(event.welcome, name)
            return replace(event, hello=hello, welcome=welcome)
        case Cursors():
            return replace(event, cursors=_only(event.cursors, name))
        case Delivered():
            return event if event.page in pages else None
        case Acked() | Refused():
            return event if event.client_id in keys else None
        case PresenceSeen():  # who may see whom is decided by all conversations
            return None
    return event if getattr(event, "conversation", name) == name else None


def _only(cursors: Mapping[str, int], name: str) -> dict[str, int]:
    return {conversation: seq for conversation, seq in cursors.items() if conversation == name}


def without_devices(history: History, devices: Sequence[int]) -> History:
    """What these devices sent stays stored: now it is of strangers."""
    gone = set(devices)
    files = [
        [event for event in events if getattr(event, "device", 0) not in gone]
        for events in history.files
    ]
    return _tidy(History(files, history.stored))


def without_events(history: History, events: Sequence[int]) -> History:
    """Without these events, by their identity."""
    gone = set(events)
    files = [[event for event in file if id(event) not in gone] for file in history.files]
    return _tidy(History(files, history.stored))


def _tidy(history: History) -> History:
    """Without pages that nobody got, and deliveries of pages that are not there."""
    files = []
    for events in history.files:
        got = {event.page for event in events if isinstance(event, Delivered)}
        has = {event.page for event in events if isinstance(event, Page)}
        files.append(
            [
                event
                for event in events
                if not isinstance(event, (Page, Delivered))
                or event.page in (got if isinstance(event, Page) else has)
            ]
        )
    return History(files, history.stored)


def without_messages(history: History, messages: Sequence[str]) -> History:
    """Without these messages and all that was asked of them; the numbers of the others close up."""
    gone, seqs = set(messages), _seqs(history, set(messages))
    keys = {event.client_id for event in history.all(Sent) if event.message in gone}
    keys |= {event.client_id for event in history.all(Acked) if event.message in gone}
    rows = [row for line in history.all_stored(StoredConversation) for row in line.changes]
    keys |= {row.client_id for row in rows if row.id in gone and row.client_id is not None}
    conversations = {sent.client_id: sent.conversation for sent in history.all(Sent)}
    closed = _Closed(gone, {name: sorted(taken) for name, taken in seqs.items()}, conversations)
    files = []
    for events in history.files:
        kept = (
            closed.event(event)
            for event in events
            if not isinstance(event, (Sent, Acked, Refused)) or event.client_id not in keys
        )
        files.append([event for event in kept if event is not None])
    stored = None if history.stored is None else [closed.stored(line) for line in history.stored]
    return _tidy(History(files, stored))


def _seqs(history: History, gone: set[str]) -> dict[str, set[int]]:
    """The numbers that these messages had, by conversation."""
    seqs: dict[str, set[int]] = {}
    for line in history.all_stored(StoredConversation):
        for row in line.changes:
            if row.id in gone:
                taken = seqs.setdefault(line.conversation, set())
                taken |= {seq for seq in (row.seq, row.position) if seq > line.since}
    for page in history.all(Page):
        taken = seqs.setdefault(page.conversation, set())
        taken |= {change.seq for change in page.changes if change.id in gone}
    sent = {one.client_id: one.conversation for one in history.all(Sent)}
    for ack in history.all(Acked):
        if ack.message in gone and ack.client_id in sent:
            seqs.setdefault(sent[ack.client_id], set()).add(ack.seq)
    return seqs


class _Closed:
    """Writes events anew where numbers have closed up."""

    def __init__(
        self, gone: set[str], seqs: dict[str, list[int]], conversations: dict[str, str]
    ) -> None:
        self._gone, self._seqs, self._conversations = gone, seqs, conversations

    def _number(self, conversation: str) -> Callable[[int], int]:
        taken = self._seqs.get(conversation, [])
        return lambda seq: seq - bisect_right(taken, seq)

    def _cursors(self, cursors: Mapping[str, int]) -> dict[str, int]:
        return {name: self._number(name)(seq) for name, seq in cursors.items()}

    def _changes(self, conversation: str, changes: Iterable[Change]) -> tuple[Change, ...]:
        number = self._number(conversation)
        return tuple(
            change._replace(seq=number(change.seq), position=number(change.position))
            for change in changes
            if change.id not in self._gone
        )

    def event(self, event: AnyEvent) -> AnyEvent | None:
        """The event with its new numbers; None if nothing is left of it."""
        new: AnyEvent | None = event
        match event:
            case Page():
                new = self._page(event)
            case Fetched():
                new = self._fetched(event)
            case Acked():
                new = self._acked(event)
            case Opened():
                hello, welcome = self._cursors(event.hello), self._cursors(event.welcome)
                new = replace(event, hello=hello, welcome=welcome)
            case Cursors():
                new = replace(event, cursors=self._cursors(event.cursors))
            case Marked() | MarkSeen():
                number = self._number(event.conversation)
                new = replace(event, delivered=number(event.delivered), read=number(event.read))
            case Added():
                new = replace(event, since=self._number(event.conversation)(event.since))
            case Removed():
                new = replace(event, upto=self._number(event.conversation)(event.upto))
        return new

    def _page(self, event: Page) -> Page | None:
        number = self._number(event.conversation)
        since, upto = number(event.since), number(event.upto)
        changes = self._changes(event.conversation, event.changes)
        if since == upto and not changes:
            return None
        return replace(event, since=since, upto=upto, changes=changes)

    def _fetched(self, event: Fetched) -> Fetched:
        number, before = self._number(event.conversation), event.before
        return replace(
            event,
            before=None if before is None else number(before - 1) + 1,
            changes=self._changes(event.conversation, event.changes),
        )

    def _acked(self, event: Acked) -> Acked:
        number = self._number(self._conversations.get(event.client_id, ""))
        return replace(event, seq=number(event.seq), position=number(event.position))

    def stored(self, line: AnyStored) -> AnyStored:
        """The same of what is stored."""
        number = self._number(line.conversation)
        match line:
            case StoredConversation():
                changes = self._changes(line.conversation, line.changes)
                return replace(line, last_seq=number(line.last_seq), changes=changes)
            case Stay():
                left = None if line.left is None else number(line.left)
                return replace(line, joined=number(line.joined), left=left)
            case StoredMark():
                return replace(line, delivered=number(line.delivered), read=number(line.read))
