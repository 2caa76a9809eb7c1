"""What is true: the stored messages of each conversation, who was in it, and what each change replaced.

The database is believed; without it (a foreign deployment) the newest that any device saw stands in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from perf.checkers.operations import Operation, fold
from perf.history.events import Added, Change, Page, Removed, Stay
from perf.history.reader import Evidence

FOREVER = 1 << 62


@dataclass(slots=True, eq=False)
class Thread:
    """One conversation: its stored messages beyond `since`, in `seq` order."""

    name: str
    since: int
    last: int
    since_joined: bool
    rows: tuple[Change, ...]
    inferred: bool = False  # from what devices saw: what is hidden from whom is not known,
    moved: bool = False  # and, if somebody came or left, not even who is in it
    seqs: list[int] = field(init=False)
    by_id: dict[str, Change] = field(init=False)
    owners: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Changes that later ones replaced: seq -> (message, version)."""
    replaced: list[tuple[int, int]] = field(default_factory=list)
    """Of these, by seq: the moment (ns) before which the replacement was not even asked for."""
    stays: dict[str, list[Stay]] = field(default_factory=dict)  # by user

    def __post_init__(self) -> None:
        self.seqs = [row.seq for row in self.rows]
        self.by_id = {row.id: row for row in self.rows}
        for row in self.rows:
            if row.version > 1 and row.position > self.since and row.position != row.seq:
                self.owners[row.position] = (row.id, 1)

    def between(self, since: int, upto: int) -> tuple[Change, ...]:
        """The stored messages whose newest change is in (since, upto]."""
        return self.rows[bisect_right(self.seqs, since) : bisect_right(self.seqs, upto)]

    def note(self, seq: int, message: str, version: int) -> None:
        """A change was seen; if it is not the newest of its message, it was replaced."""
        row = self.by_id.get(message)
        replaced = row is not None and seq < row.seq and version < row.version
        if row is None or not replaced or self.owner(seq) is not None:
            return
        if version > 1 or seq == row.position:
            self.owners[seq] = (message, version)

    def owner(self, seq: int) -> tuple[str, int] | None:
        """Which message's which version is known to have this number; None if none is."""
        at = bisect_left(self.seqs, seq)
        if at < len(self.seqs) and self.seqs[at] == seq:
            return self.rows[at].id, self.rows[at].version
        return self.owners.get(seq)

    def end(self, user: str) -> int:
        """The last change that the user may see: that with which they left, or no limit."""
        stays = self.stays.get(user)
        if not stays:
            return FOREVER if not self.stays else -1
        return max(FOREVER if stay.left is None else stay.left for stay in stays)

    def permits(self, user: str, seq: int) -> bool:
        """Whether the user may see a change: never one after they left, nor one before they came
        where that is hidden."""
        stays = self.stays.get(user)
        if not stays:
            return not self.stays
        return any(
            (not self.since_joined or seq >= stay.joined)
            and (stay.left is None or seq <= stay.left)
            for stay in stays
        )

    def has(self, user: str, seq: int) -> bool:
        """Whether the user was in the conversation when this change was made; also if nobody knows who was."""
        return not self.stays or any(
            stay.joined <= seq and (stay.left is None or seq < stay.left)
            for stay in self.stays.get(user, ())
        )

    def owes(self, user: str, seq: int) -> bool:
        """Whether a device that catches up is sent this change: what is hidden from a stay stays hidden,
        also if the user had been there before."""
        stays = self.stays.get(user)
        if not stays or not self.since_joined:
            return self.permits(user, seq)
        return seq >= stays[-1].joined and self.permits(user, seq)


@dataclass(slots=True, eq=False)
class Truth:
    """Everything that the checkers compare with."""

    threads: dict[str, Thread]
    operations: dict[str, Operation]
    keys: dict[tuple[str, str], tuple[Thread, Change]]  # (device id, client_id) of a stored message
    made: dict[tuple[str, int], Operation]  # (message, version) -> the request that made it
    refused: set[
        tuple[str, int]
    ]  # (message, digest) of edits that were refused for good, and no other was
    numbers: dict[str, int]  # device id -> number in the run
    astray: set[str]  # client_ids of what is stored in another conversation than it was sent to
    compared: bool


def establish(evidence: Evidence) -> Truth:
    """Gather what is true."""
    threads = {
        name: Thread(name, it.since, it.last_seq, it.history == "since_joined", it.changes)
        for name, it in evidence.conversations.items()
    }
    if not evidence.compared:
        threads = {thread.name: thread for thread in _inferred(evidence.pages)}
        for event in evidence.events:
            if isinstance(event, (Added, Removed)) and event.conversation in threads:
                threads[event.conversation].moved = True
    for stay in evidence.stays:
        if stay.conversation in threads:
            threads[stay.conversation].stays.setdefault(stay.user, []).append(stay)
    for thread in threads.values():
        for stays in thread.stays.values():
            stays.sort(key=lambda stay: stay.joined)
    operations = fold(evidence.events)
    keys = _keys(threads.values(), operations)
    return Truth(
        threads=threads,
        operations=operations,
        keys=keys,
        astray={
            client_id
            for (_, client_id), (thread, _) in keys.items()
            if client_id in operations and operations[client_id].sent.conversation != thread.name
        },
        made=_made(operations.values()),
        refused=_refused(operations.values()),
        numbers={log.device.id: number for number, log in evidence.logs.items()},
        compared=evidence.compared,
    )


def _keys(
    threads: Iterable[Thread], operations: dict[str, Operation]
) -> dict[tuple[str, str], tuple[Thread, Change]]:
    keys: dict[tuple[str, str], tuple[Thread, Change]] = {}
    for thread in threads:
        for row in thread.rows:
            if row.device is not None and row.client_id is not None:
                operation = operations.get(row.client_id)
                if operation is None or (
                    operation.acks[:1] and operation.acks[0].message == row.id
                ):
                    keys[row.device, row.client_id] = (
                        thread,
                        row,
                    )  # of two, the one that was promised
                else:
                    keys.setdefault((row.device, row.client_id), (thread, row))
    return keys


def _made(operations: Iterable[Operation]) -> dict[tuple[str, int], Operation]:
    made: dict[tuple[str, int], Operation] = {}
    for operation in operations:
        if operation.acks:
            ack = operation.acks[0]
            version = 1 if operation.sent.what == "send" else ack.version
            made.setdefault((ack.message, version), operation)
    return made


def _refused(operations: Iterable[Operation]) -> set[tuple[str, int]]:
    refused, others = set[tuple[str, int]](), set[tuple[str, int]]()
    for operation in operations:
        sent = operation.sent
        if sent.what == "edit" and sent.message is not None:
            known = refused if operation.outcome == "failed" else others
            known.add((sent.message, sent.digest))
    return refused - others


def _inferred(pages: Sequence[Page]) -> Iterable[Thread]:
    """Conversations as the devices saw them all together."""
    newest: dict[str, dict[str, Change]] = {}
    ranges: dict[str, tuple[int, int]] = {}
    for page in pages:
        since, last = ranges.get(page.conversation, (page.since, page.upto))
        ranges[page.conversation] = min(since, page.since), max(last, page.upto)
        seen = newest.setdefault(page.conversation, {})
        for change in page.changes:
            if change.id not in seen or change.seq > seen[change.id].seq:
                seen[change.id] = change
    for name, (since, last) in ranges.items():
        rows = tuple(sorted(newest[name].values(), key=lambda row: row.seq))
        yield Thread(name, since, last, since_joined=False, rows=rows, inferred=True)
