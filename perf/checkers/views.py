"""What each device made of what it was sent: the wire's one rule, applied by the checker itself.

Laws: a frame is applied only where its range meets the cursor, and a device's view of a conversation
is everything up to its cursor. So what is wrong is found where a frame does not continue the view
(repeats, holes, fences, bad frames) and at the end (what never came). A frame that continues it and
is without flaw costs a few comparisons: most do.
"""

from __future__ import annotations

from collections.abc import Mapping

from perf.checkers import prose
from perf.checkers.judgement import Judgement
from perf.checkers.pages import Flaw
from perf.checkers.seats import NEVER, Seat, View, lose
from perf.checkers.truth import Truth
from perf.history.events import Added, AnyEvent, Cursors, Opened, Page, Removed, Reset
from perf.history.reader import Evidence, Log


class Watcher:
    """Replays the log of one device after the other."""

    def __init__(
        self, evidence: Evidence, truth: Truth, flaws: Mapping[int, Flaw], judgement: Judgement
    ) -> None:
        self._evidence, self._truth, self._flaws = evidence, truth, flaws
        self._judgement = judgement
        pages = evidence.pages
        names: dict[str, str] = {}  # one object for each name: they are looked up a million times
        self._conversations = [
            names.setdefault(page.conversation, page.conversation) for page in pages
        ]
        self._sinces = [page.since for page in pages]
        self._uptos = [page.upto for page in pages]
        self._sizes = [len(page.changes) for page in pages]

    def watch(self, log: Log) -> Seat:
        """Replay one device's log."""
        seat = Seat(log)
        views, flaws = seat.views, self._flaws
        conversations, sinces, uptos = self._conversations, self._sinces, self._uptos
        current, view = "", None  # most frames are of the same conversation as the one before
        for moment, entry in zip(log.moments, log.entries, strict=True):
            if entry < 0:
                self._happened(seat, self._evidence.events[~entry])
                continue
            if view is None or conversations[entry] is not current:
                current = conversations[entry]
                view = views.get(current)
            upto = uptos[entry]
            if (
                view is not None
                and sinces[entry] == view.cursor
                and upto <= view.quick
                and entry not in flaws
            ):
                view.cursor = upto
            else:
                self._look(seat, entry, moment)
        self._count(log)
        return seat

    def _count(self, log: Log) -> None:
        """Note how much a device was sent."""
        sizes = [self._sizes[entry] for entry in log.entries if entry >= 0]
        frames, changes = len(sizes), sum(sizes)
        self._judgement.deliveries += changes
        self._judgement.check("duplicated", "reordered", "gap", times=frames)
        self._judgement.check("phantom", "corrupt", "diverged order", "misrouted", times=changes)

    # Frames that need a closer look

    def _look(self, seat: Seat, entry: int, moment: int) -> None:
        page = self._evidence.pages[entry]
        view = seat.views.get(page.conversation)
        if view is None:
            view = self._open(seat, page.conversation, page.since)
        self._admit(seat, view, page)
        if page.since > view.cursor:
            self._leave_out(seat, view, entry, page)
        elif page.upto <= view.cursor:
            self._repeat(seat, view, page)
        else:
            if page.since < view.cursor:
                self._repeat(seat, view, page)
            self._apply(seat, view, entry, moment)
        view.settle()

    def _open(self, seat: Seat, conversation: str, since: int) -> View:
        thread = self._truth.threads.get(conversation)
        limit = thread.end(seat.log.device.user) if thread is not None else NEVER
        view = seat.views[conversation] = View(thread, limit, since, since)
        return view

    def _admit(self, seat: Seat, view: View, page: Page) -> None:
        """Whether the device's user is entitled to what the frame brings."""
        user, thread = seat.log.device.user, view.thread
        if thread is None:
            return
        if view.limit == NEVER:
            self._convict("misrouted", seat, page, "though its user was never a member")
        elif page.upto > view.limit:
            what = f"though its user left with change {view.limit}"
            self._convict("delivery after a fence", seat, page, what)
        elif view.fence is not None:
            what = f"after it had been told that its user left with change {view.fence}"
            self._convict("delivery after a fence", seat, page, what)
        elif thread.since_joined:
            for change in page.changes:
                if not thread.permits(user, change.seq):
                    what = f"whose change {change.seq} is from before its user joined"
                    self._convict("misrouted", seat, page, what)
                    return

    def _leave_out(self, seat: Seat, view: View, entry: int, page: Page) -> None:
        """The frame begins beyond the cursor: by the rule nothing of it is applied."""
        view.beyond.append(entry)
        if view.fresh and seat.sessions > 1:
            what = f"though it had come back at cursor {view.cursor}"
            self._convict("resume gap", seat, page, what, also=(view.cursor,))
        elif view.hole is None:
            view.hole = (view.cursor, page.since)
        view.asked = max(view.asked, page.upto)

    def _repeat(self, seat: Seat, view: View, page: Page) -> None:
        """The frame, or its beginning, is not new."""
        if view.fresh and seat.sessions > 1:
            if not view.replayed:
                what = f"though it had come back at cursor {view.cursor}"
                self._convict("resume replay", seat, page, what, also=(view.cursor,))
            view.replayed = True
        elif view.cursor <= view.asked:
            self._judgement.tolerate("repeated after a question")
        else:
            what = f"though it had everything up to {view.cursor} on the same connection"
            self._convict("duplicated", seat, page, what, also=(view.cursor,))

    def _apply(self, seat: Seat, view: View, entry: int, moment: int) -> None:
        page, before = self._evidence.pages[entry], view.cursor
        if view.hole is not None:
            self._mend(seat, view, page)
        if view.fresh and seat.sessions > 1:
            self._note_resume(seat, page, before)
        view.cursor, view.fresh, view.replayed = page.upto, False, False
        if view.hole is not None and view.cursor >= view.hole[1]:
            view.hole = None
        if view.cursor >= view.asked:
            view.asked = 0
        flaw = self._flaws.get(entry)
        if flaw is not None:
            self._suffer(seat, view, page, flaw=flaw, before=before, moment=moment)

    def _mend(self, seat: Seat, view: View, page: Page) -> None:
        """A hole is being filled: by the frame that came too late, or by an answer to the question."""
        assert view.hole is not None
        _, beyond = view.hole
        if page.upto <= beyond:
            early = next(one for one in view.beyond if self._sinces[one] == beyond)
            what = f"after changes ({beyond}, {self._uptos[early]}]"
            what += self._order(page, self._evidence.pages[early])
            self._convict("reordered", seat, page, what, also=(beyond,))
        else:
            what = f"only after it had been sent changes beyond {beyond} first and had to ask"
            self._convict("gap", seat, page, what, also=(beyond,))
        view.hole = None

    def _end_hole(self, seat: Seat, view: View) -> None:
        """The connection ended with a hole in what it had brought. (Who stays to the end has lost something.)"""
        if view.hole is None:
            return
        cursor, beyond = view.hole
        early = next(one for one in view.beyond if self._sinces[one] == beyond)
        what = (
            f"beyond {cursor}, the end of all before, and nothing came between on that connection"
        )
        self._convict("gap", seat, self._evidence.pages[early], what, also=(cursor,))
        view.hole = None

    def _order(self, first: Page, second: Page) -> str:
        """In which order two frames' changes had been promised to their senders, if they had."""
        ends = first.changes[-1:] + second.changes[:1]
        made = [self._truth.made.get((change.id, change.version)) for change in ends]
        if len(made) < 2 or made[0] is None or made[1] is None:
            return ""
        times = [prose.moment(one.answered, self._evidence) for one in made if one is not None]
        order = f"in the order {ends[0].seq}, {ends[1].seq}"
        return f"; both had been acknowledged {order}, {times[0]} and {times[1]}"

    def _note_resume(self, seat: Seat, page: Page, cursor: int) -> None:
        who = prose.device(seat.log)
        self._judgement.happen("catch-up", f"{who}, {page.conversation} from {cursor}")
        for change in page.changes:
            if change.version > 1 and change.position <= cursor:
                self._judgement.happen("edit while offline", f"{who}, message {change.id}")

    def _suffer(
        self, seat: Seat, view: View, page: Page, *, flaw: Flaw, before: int, moment: int
    ) -> None:
        """What a bad frame did to this device."""
        who, user = prose.device(seat.log), seat.log.device.user
        for name, what, seq in flaw.wrong:
            if seq > before:
                self._judgement.convict(
                    name,
                    f"{who} received {what}.",
                    conversation=page.conversation,
                    device=seat.log.device.device,
                    seqs=(seq,),
                )
        for seq in flaw.missing:
            if seq > before and (view.thread is None or view.thread.owes(user, seq)):
                self._lose(seat, view, seq, f"the frame ({page.since}, {page.upto}] left it out")
        owed = view.thread is None or view.thread.owes(user, flaw.early)
        if before < flaw.early and moment < flaw.until and owed:
            reason = "it was left out before anybody had asked to replace it"
            self._lose(seat, view, flaw.early, reason)

    # Other events

    def _happened(self, seat: Seat, event: AnyEvent) -> None:
        match event:
            case Opened():
                self._opened(seat, event)
            case Added():
                self._added(seat, event)
            case Removed():
                self._judgement.happen("leaving", prose.device(seat.log))
                view = seat.views.get(event.conversation)
                if view is not None:
                    view.fence, view.quick = event.upto, NEVER
            case Reset():
                self._judgement.tolerate("begun anew")
                view = seat.views.get(event.conversation)
                if view is not None:
                    view.start = view.cursor = 0
                    self._refresh(view)
            case Cursors():
                seat.connected, seat.ended = event.connected, event.t
                for view in seat.views.values() if not event.connected else ():
                    self._end_hole(seat, view)
                self._compare(seat, event)

    def _opened(self, seat: Seat, event: Opened) -> None:
        seat.sessions += 1
        for conversation, cursor in event.hello.items():
            view = seat.views.get(conversation)
            if view is None:
                self._open(seat, conversation, cursor)
            else:
                self._return(seat, view, conversation, cursor)
        for conversation, since in event.welcome.items():
            view = seat.views.get(conversation)
            if view is None:
                self._open(seat, conversation, since)
            elif conversation not in event.hello and since < view.cursor:
                self._judgement.tolerate("repeated after a resume")
                view.cursor = since
            if view is not None:
                view.fence = None
        for view in seat.views.values():
            self._end_hole(seat, view)
            self._refresh(view)
        if seat.sessions > 1:
            self._judgement.check("resume gap", "resume replay", times=len(event.hello))
            self._judgement.happen("resume", prose.device(seat.log))

    def _return(self, seat: Seat, view: View, conversation: str, cursor: int) -> None:
        """The device says what it has of a conversation."""
        self._judgement.check("cursor drift")
        if cursor > view.cursor:
            self._drift(seat, conversation, cursor, view.cursor, "said")
        elif cursor < view.cursor:
            self._judgement.tolerate("repeated after a resume")
        view.cursor, view.start = cursor, min(view.start, cursor)

    def _added(self, seat: Seat, event: Added) -> None:
        view = seat.views.get(event.conversation)
        if view is None:
            view = self._open(seat, event.conversation, event.since)
            self._judgement.happen("late joiner", prose.device(seat.log))
        elif view.fence is not None:
            self._judgement.happen("late joiner", f"{prose.device(seat.log)}, again")
        view.fence = None
        self._refresh(view)

    def _refresh(self, view: View) -> None:
        """A session began, or a feed in it."""
        view.fresh, view.hole, view.asked, view.quick = True, None, 0, NEVER
        view.replayed = False

    def _compare(self, seat: Seat, event: Cursors) -> None:
        for conversation, cursor in event.cursors.items():
            view = seat.views.get(conversation)
            if view is None:
                continue
            self._judgement.check("cursor drift")
            if cursor != view.cursor:
                self._drift(seat, conversation, cursor, view.cursor, "ended")

    # Words

    def _drift(self, seat: Seat, conversation: str, cursor: int, true: int, did: str) -> None:
        self._judgement.convict(
            "cursor drift",
            f"{prose.device(seat.log)} {did} at cursor {cursor} in conversation {conversation}; "
            f"by what it was sent it was at {true}.",
            conversation=conversation,
            device=seat.log.device.device,
            seqs=(cursor, true),
        )

    def _lose(self, seat: Seat, view: View, seq: int, reason: str) -> None:
        view.lost.add(seq)
        lose(self._judgement, seat, view, seq, reason)

    def _convict(
        self, name: str, seat: Seat, page: Page, what: str, *, also: tuple[int, ...] = ()
    ) -> None:
        """Convict for a frame, with a sentence that begins the same for all."""
        self._judgement.convict(
            name,
            f"{prose.device(seat.log)} received changes ({page.since}, {page.upto}] of conversation "
            f"{page.conversation} {what}.",
            conversation=page.conversation,
            device=seat.log.device.device,
            seqs=(page.since, page.upto, *also),
        )
