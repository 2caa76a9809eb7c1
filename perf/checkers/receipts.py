"""Marks: what a device said, what the others were shown, what is stored. They only rise.

A mark is bounded from above by what its device had said by then, and from below by what it said on
a session that went on for a while (`_settling`): the end of one may have swallowed it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TypeAlias

from perf.checkers.judgement import Judgement
from perf.checkers.marks import Marks, Said, Sessions
from perf.checkers.spans import Span
from perf.checkers.truth import FOREVER, Truth
from perf.history.reader import Evidence

SETTLED_NS = 1_000_000_000
"""A mark is stored and shown within; it takes twice 100 ms when all is well."""

PER_MARK_NS = 2_000_000
"""And so much more for each device and conversation with marks: the server takes 1 ms each under load."""

GREETED_NS = 1_000_000_000  # so long after a welcome, marks read from the database may arrive late
MOST_DEVICES = 100  # above it a conversation's marks are shown as counts


def examine(evidence: Evidence, truth: Truth, judgement: Judgement) -> None:
    """Judge all marks of a run that recorded them."""
    if not all(run.full for run in evidence.runs):
        return
    marks = Marks(evidence, truth)
    seen = _judge_sightings(evidence, marks, judgement)
    _judge_entitled(evidence, truth, seen, judgement)
    if evidence.compared:
        _judge_stored(evidence, truth, marks, judgement)
        _judge_settled(evidence, truth, marks, judgement)
    _judge_shown(evidence, truth, marks, seen, judgement)


Seen: TypeAlias = dict[tuple[int, int, int], tuple[int, int]]
"""(observer, device, conversation), the last two as in `Evidence.names` -> the greatest marks shown."""


def _judge_sightings(evidence: Evidence, marks: Marks, judgement: Judgement) -> Seen:
    """Every mark shown: not behind what was shown before, not ahead of what was said."""
    seen: Seen = {}
    it, said = evidence.sightings, _by_numbers(evidence, marks)
    columns = zip(
        it.moments, it.observers, it.conversations, it.devices, it.delivered, it.read, strict=True
    )
    for t, observer, conversation, device, delivered, read in columns:
        key = observer, device, conversation
        before = seen.get(key, (0, 0))
        wrong: list[tuple[str, str]] = []
        if delivered >= before[0] and read >= before[1]:
            seen[key] = delivered, read
        elif _was_greeted(marks, observer, t):
            judgement.tolerate("marks read again")
        else:
            wrong.append(("receipt regression", f"after {before[0]} and {before[1]}"))
        if read > delivered:
            wrong.append(("read before delivered", "which can't be"))
        bound = said.get((device, conversation))
        most = bound.until(t) if bound is not None else (delivered, read)
        if delivered > most[0] or read > most[1]:
            wrong.append(("phantom receipt", f"but it had said {most[0]} and {most[1]} until then"))
        for name, what in wrong:
            _convict(evidence, judgement, name, key, f"{delivered} and {read}, {what}")
    judgement.check("receipt regression", "read before delivered", "phantom receipt", times=len(it))
    return seen


def _judge_entitled(evidence: Evidence, truth: Truth, seen: Seen, judgement: Judgement) -> None:
    """Nobody is shown marks of a conversation in which they never were, nor of changes after they left."""
    for key, (delivered, _) in seen.items():
        observer, _, conversation = key
        thread = truth.threads.get(evidence.names[conversation])
        end = FOREVER if thread is None else thread.end(evidence.logs[observer].device.user)
        if end < 0:
            what = "so much, though the observer's user was never in that conversation"
            _convict(evidence, judgement, "misrouted", key, what)
        elif end < FOREVER:
            judgement.check("delivery after a fence")
            if delivered > end:
                what = (
                    f"{delivered} and more, though the observer's user had left with change {end}"
                )
                _convict(evidence, judgement, "delivery after a fence", key, what)
    judgement.check("misrouted", times=len(seen))


def _by_numbers(evidence: Evidence, marks: Marks) -> dict[tuple[int, int], Said]:
    """What was said by (device, conversation), as in `Evidence.names`; empty if some of it was cut off."""
    if not evidence.whole:
        return {}
    numbers = {name: number for number, name in enumerate(evidence.names)}
    return {
        (numbers[device], numbers[conversation]): said
        for (device, conversation), said in marks.said.items()
        if device in numbers and conversation in numbers
    }


def _convict(
    evidence: Evidence, judgement: Judgement, name: str, key: tuple[int, int, int], what: str
) -> None:
    observer, device, conversation = key
    judgement.convict(
        name,
        f"Device {observer} was shown that the delivered and read marks of device "
        f"{evidence.names[device]} in conversation {evidence.names[conversation]} are {what}.",
        conversation=evidence.names[conversation],
        device=observer,
    )


def _was_greeted(marks: Marks, observer: int, t: int) -> bool:
    """Whether a device had been welcomed just before."""
    opened = marks.sessions[observer].opened if observer in marks.sessions else []
    at = bisect_right(opened, t)
    return at > 0 and t - opened[at - 1] < GREETED_NS


def _judge_stored(evidence: Evidence, truth: Truth, marks: Marks, judgement: Judgement) -> None:
    """Every stored mark: read <= delivered <= the last change, and nothing that was never said."""
    for mark in evidence.marks:
        thread = truth.threads.get(mark.conversation)
        whose = (
            f"The marks of device {mark.device} in conversation {mark.conversation} are stored as "
        )
        what = f"{mark.delivered} and {mark.read}"
        judgement.check("read before delivered", "phantom receipt")
        if mark.read > mark.delivered:
            judgement.convict(
                "read before delivered", f"{whose}{what}.", conversation=mark.conversation
            )
        said = marks.said.get((mark.device, mark.conversation))
        bound = (
            said.until(1 << 63)
            if said is not None and evidence.whole
            else (mark.delivered, mark.read)
        )
        last = thread.last if thread is not None else mark.delivered
        if mark.delivered > last:
            sentence = f"{whose}{what}, but its last change is {last}."
            judgement.convict("phantom receipt", sentence, conversation=mark.conversation)
        elif mark.delivered > bound[0] or mark.read > bound[1]:
            sentence = f"{whose}{what}, but it never said more than {bound[0]} and {bound[1]}."
            judgement.convict("phantom receipt", sentence, conversation=mark.conversation)


def _judge_settled(evidence: Evidence, truth: Truth, marks: Marks, judgement: Judgement) -> None:
    """What a device said on its last session, well before it ended, is stored."""
    stored = {(it.device, it.conversation): (it.delivered, it.read) for it in evidence.marks}
    for (device, conversation), said in marks.said.items():
        log = evidence.logs[truth.numbers[device]]
        claimed = _settled(said, marks.sessions[log.device.device], _settling(marks))
        thread = truth.threads.get(conversation)
        if claimed is None or thread is None or thread.end(log.device.user) < FOREVER:
            continue  # nothing to go by, or a member who left: marks end with the stay
        judgement.check("lost receipt")
        has = stored.get((device, conversation), (0, 0))
        if has[0] < claimed[0] or has[1] < claimed[1]:
            judgement.convict(
                "lost receipt",
                f"Device {log.device.device} said that it had received conversation {conversation} up to "
                f"{claimed[0]} and read up to {claimed[1]}, but {has[0]} and {has[1]} are stored.",
                conversation=conversation,
                device=log.device.device,
            )


def _settling(marks: Marks) -> int:
    """How long (ns) a mark may take to be stored and shown, by how many there are."""
    return SETTLED_NS + PER_MARK_NS * len(marks.said)


def _settled(said: Said, sessions: Sessions, settling: int) -> tuple[int, int] | None:
    """The marks that had time to be stored: said in the last session, well before it ended."""
    if not sessions.opened or sessions.ended is None:
        return None
    return said.within(sessions.opened[-1], sessions.ended - settling)


def _judge_shown(
    evidence: Evidence, truth: Truth, marks: Marks, seen: Seen, judgement: Judgement
) -> None:
    """What a device said while another was there, well before that one left, it was shown."""
    numbers = {name: number for number, name in enumerate(evidence.names)}
    shown = {conversation for _, _, conversation in seen}
    sizes = Counter(mark.conversation for mark in evidence.marks)
    for conversation, devices in marks.by_conversation().items():
        number, thread = numbers.get(conversation, -1), truth.threads.get(conversation)
        few = max(len(devices), sizes[conversation]) <= MOST_DEVICES
        known = evidence.compared or number in shown  # else it may have more devices than these
        if not known or thread is None or thread.moved or not few:
            continue
        staying = {
            device: truth.numbers[device]
            for device in devices
            if thread.end(evidence.logs[truth.numbers[device]].device.user) == FOREVER
        }
        for observer, mine in staying.items():
            stays = thread.stays.get(evidence.logs[mine].device.user, ())
            back = stays[-1].joined if len(stays) > 1 else 0
            stretch = _stretch(marks, conversation, observer, mine, back=back)
            for device, claimed in _claimed(marks, conversation, observer, staying, stretch):
                judgement.check("lost receipt")
                has = seen.get((mine, numbers.get(device, -1), number), (0, 0))
                if has[0] < claimed[0] or has[1] < claimed[1]:
                    judgement.convict(
                        "lost receipt",
                        f"Device {mine} was never shown that device {device} had received conversation "
                        f"{conversation} up to {claimed[0]} and read up to {claimed[1]}; the last it was "
                        f"shown was {has[0]} and {has[1]}.",
                        conversation=conversation,
                        device=mine,
                    )


def _stretch(marks: Marks, conversation: str, observer: str, mine: int, *, back: int) -> Span:
    """When an observer was there last; if its user came `back` with this change, as far as it knew of that."""
    sessions = marks.sessions[mine]
    if not sessions.opened or sessions.ended is None:
        return 0, 0
    opened, added = sessions.opened[-1], marks.added.get((observer, conversation), 0)
    knew = sessions.stays or sessions.cursors.get(conversation, 0) >= back
    if added < opened and not knew:
        return 0, 0  # perhaps its user was out as long as it was here
    began, removed = max(opened, added), marks.removed.get((observer, conversation), 0)
    return began, removed if removed > began else sessions.ended


def _claimed(
    marks: Marks, conversation: str, observer: str, devices: Mapping[str, int], stretch: Span
) -> Iterator[tuple[str, tuple[int, int]]]:
    """What the others said while the observer was there, and both were there long enough for it to be shown."""
    settling = _settling(marks)
    for device, number in devices.items():
        if device == observer:
            continue
        lasted = partial(marks.sessions[number].lasted, after=settling)
        said = marks.said[device, conversation].within(stretch[0], stretch[1] - settling, lasted)
        if said is not None:
            yield device, said
