"""Where each conversation of a device goes on after `hello`: a pure function of what both sides know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from messaging.protocol.frames import Conversation, ConversationState, Frame, Hello, Left, Reset
from messaging.protocol.server.actions import Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumption:
    """`starts`: the feeds and their cursors. `listed`: what the device lacks. `resets`: what starts anew.

    `cursors`: what the device has of conversations that its user left, should they be added again; `over`: that they left,
    for the connection may have ended before that was told.
    `foreign`: cursors of conversations that the user never was in (they were made after a backup that was restored).
    """

    cursors: dict[str, int] = field(default_factory=dict)
    starts: list[tuple[Standing, int]] = field(default_factory=list)
    listed: list[ConversationState] = field(default_factory=list)
    resets: list[Reset] = field(default_factory=list)
    over: list[Left] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def resume(hello: Hello, standings: Iterable[Standing], *, epoch: str) -> Resumption:
    """Compare the device's cursors with its standings.

    A stay that ended and is already known in full is not listed. Listed is what the device lacks, and
    what it gave no cursor for: it can't know where its feed goes on. A cursor of another epoch, or beyond
    the last change (a restored backup), starts from 0; so does one that was away since before changes that
    are gone for real, for nobody could tell the device what to drop, unless it started anew after they went.
    """
    stale = hello.epoch is not None and hello.epoch != epoch
    plan, known = Resumption(), set()
    for standing in standings:
        known.add(standing.conversation)
        cursor = hello.cursors.get(standing.conversation)
        told = hello.purged.get(standing.conversation, 0)
        if cursor is not None and (
            stale or cursor > standing.last_seq or lacks_purged(standing, cursor, told=told)
        ):
            plan.resets.append(anew(standing))
            cursor = 0
        since = start(standing, cursor)
        lacks = since < standing.last
        if standing.left_seq is None or lacks:
            plan.starts.append((standing, since))
        elif cursor is not None:
            plan.cursors[standing.conversation] = cursor
            plan.over.append(Left(conversation=standing.conversation, upto=standing.last))
        if lacks or (cursor is None and standing.left_seq is None):
            plan.listed.append(listed(standing, since))
    plan.foreign.extend(each for each in hello.cursors if each not in known)
    return plan


def lacks_purged(standing: Standing, cursor: int, *, told: int = 0) -> bool:
    """Whether changes that the device has still to hear of may be gone for real, which were there when it started anew.

    Of those above its user's stay it hears nothing, and those up to `told` were gone already.
    """
    return told < standing.purged and 0 < cursor < min(standing.purged, standing.last)


def anew(standing: Standing) -> Reset:
    """How a device is told to start a conversation anew."""
    return Reset(conversation=standing.conversation, purged=standing.purged)


def listed(standing: Standing, since: int) -> ConversationState:
    """A conversation as `welcome` and `conversation` show it; whoever left it is told no title of afterwards."""
    return ConversationState(
        conversation=standing.conversation,
        kind=standing.kind,
        since=since,
        last_seq=standing.last,
        title=standing.title if standing.last == standing.last_seq else "",
    )


def announced(state: ConversationState) -> Conversation:
    """The same as a frame of its own."""
    return Conversation(**msgspec.structs.asdict(state))


def rejoin(standing: Standing, cursor: int | None) -> tuple[int, list[Frame]]:
    """Where an open session goes on in a newer stay, and how it is told; from 0, as at `hello`, if tombstones are gone."""
    reset = cursor is not None and lacks_purged(standing, cursor)
    since = 0 if reset else start(standing, cursor)
    state = announced(listed(standing, since))
    return since, [anew(standing), state] if reset else [state]


def start(standing: Standing, cursor: int | None) -> int:
    """The device's own cursor, which is never jumped over, else its stored mark, else the beginning of the stay."""
    if cursor is not None:
        return cursor
    return standing.first if standing.delivered is None else standing.delivered


def goes_on(standing: Standing, cursor: int | None) -> bool:
    """Whether there is something to follow for a session that has no feed here, and so has been told all up to its cursor.

    A stay that began before that has ended since: then the standing was read before its end, and is no news.
    """
    if cursor is not None and standing.joined_seq <= cursor:
        return False
    return standing.left_seq is None or start(standing, cursor) < standing.last
