"""The server's promises to a device, played against a conforming client over a reference log.

A session and the topics of its process meet whatever order of things Hypothesis thinks of.
"""

from __future__ import annotations

import sys

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from messaging.protocol.errors import CloseCode
from messaging.protocol.frames import Hello, Mark, Receipt
from messaging.protocol.server.batch import Batch
from messaging.protocol.server.feeds import Feed
from messaging.protocol.server.session import SLOW_S
from tests.unit.messaging.hub.process import Process
from tests.unit.messaging.hub.reference import ME, OTHER, Broken, Client, Log

OPEN, HIDDEN = (f"{n}0000000-0000-4000-8000-000000000000" for n in "12")
CONVERSATIONS = st.sampled_from([OPEN, HIDDEN])
ANY = st.integers(0, 30)
SELDOM = st.sampled_from([False, False, False, True])


class Delivery(RuleBasedStateMachine):
    """One device of one user in two conversations, one of which hides what was said before they joined."""

    @initialize(said=st.integers(0, 4))
    def begin(self, said: int) -> None:
        self.logs = {name: Log(name, since_joined=name == HIDDEN) for name in (OPEN, HIDDEN)}
        for log in self.logs.values():
            for _ in range(said):
                log.append()
            log.join()
        self.client = Client(self.logs)
        self.process = Process(self.logs, store=self.store)
        self.flying: list[Batch] = []
        self.stored: dict[str, int] = {}
        self.epoch, self.now = 0, 0.0
        self.inbox = self.inbox_seen = 0
        self.connect(auto_ack=False, anew=True)
        self.welcome()
        for reading in list(self.process.readings):
            self.process.arrive(reading, late=True)

    def store(self, mark: Mark) -> None:
        """G4: marks never go back and never beyond the last change."""
        before = self.stored.get(mark.conversation, 0)
        if not before < mark.delivered <= self.logs[mark.conversation].last_seq:
            raise Broken(f"a mark went from {before} to {mark}")
        self.stored[mark.conversation] = mark.delivered

    # The conversations

    @rule(
        name=CONVERSATIONS,
        changes=st.lists(ANY, min_size=1, max_size=4),
        prompt=st.booleans(),
    )
    def commit(self, name: str, changes: list[int], prompt: bool) -> None:
        """A writer commits sends (even) and edits of different messages (odd), and announces them."""
        log = self.logs[name]
        since, texts = log.last_seq, [m for m in log.newest.values() if m.kind == "text"]
        for change in changes:
            if change % 2 and texts:
                log.amend(texts.pop(change % len(texts)))
            else:
                log.append()
        self.flying.append(log.committed(since))
        if prompt:
            self.process.apply(self.flying.pop())

    @rule(name=CONVERSATIONS, user=st.sampled_from([ME, ME, OTHER]))
    def come_or_go(self, name: str, user: str) -> None:
        """A trigger writes it, so no batch announces it."""
        log = self.logs[name]
        self.inbox += user == ME
        if user == OTHER or log.present:
            log.leave(user)
        else:
            log.join()

    @precondition(lambda self: self.flying)
    @rule(which=ANY, again=st.booleans())
    def announce(self, which: int, again: bool) -> None:
        """A batch reaches this process: in any order, perhaps twice."""
        index = which % len(self.flying)
        self.process.apply(self.flying[index] if again else self.flying.pop(index))

    @precondition(lambda self: self.flying)
    @rule(which=ANY)
    def lose(self, which: int) -> None:
        """The bus loses a batch."""
        self.flying.pop(which % len(self.flying))

    # The process

    @rule(name=CONVERSATIONS)
    def repair(self, name: str) -> None:
        """The topic reads what it lacks."""
        self.process.catch_up(name)

    @rule()
    def refresh(self) -> None:
        """The process looks into the inbox, perhaps for nothing."""
        link = self.process.link
        if link is not None and link.session.identity is not None:
            self.inbox_seen = self.inbox
            self.process.refresh([log.standing(None) for log in self.logs.values()])

    @precondition(lambda self: self.process.readings)
    @rule(which=ANY, late=st.booleans())
    def page(self, which: int, late: bool) -> None:
        """A page that was asked for arrives."""
        readings = self.process.readings
        self.process.arrive(readings[which % len(readings)], late=late)

    @rule(seconds=st.sampled_from([1.0, SLOW_S]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        if self.process.link is not None:
            self.process.link.session.tick(self.now)
        self.process.pump()

    @precondition(lambda self: self.process.link is not None)
    @rule(code=st.sampled_from([CloseCode.RESTART, CloseCode.REVOKED]), now=SELDOM)
    def say_goodbye(self, code: CloseCode, now: bool) -> None:
        """The process ends the session; the socket is still there for a while."""
        if not now:
            return
        assert self.process.link is not None
        self.process.link.session.close(code, discard=code is CloseCode.REVOKED)

    # The device

    @precondition(lambda self: self.process.link is None)
    @rule(
        auto_ack=st.sampled_from([False, False, True]), anew=st.sampled_from([False, False, True])
    )
    def connect(self, auto_ack: bool, anew: bool) -> None:
        """The device says hello, with what it has or as a new one; its standings are read."""
        if anew or auto_ack:
            self.client.forget()
        self.client.parted, self.client.acked = False, {}
        self.inbox_seen = self.inbox
        hello = Hello(cursors=dict(self.client.cursors), epoch=self.client.epoch, auto_ack=auto_ack)
        standings = [log.standing(self.stored.get(log.conversation)) for log in self.logs.values()]
        for standing in standings:  # the contract's words: its mark, else where the stay begins
            if standing.conversation not in self.client.cursors:
                begin = standing.first if standing.delivered is None else standing.delivered
                self.client.starts[standing.conversation] = begin
        self.process.connect(hello, standings)

    @precondition(lambda self: self.process.link and not self.process.link.session.identity)
    @rule()
    def welcome(self) -> None:
        """The hello is answered."""
        self.process.welcome(epoch=str(self.epoch))

    @precondition(lambda self: self.process.link and self.process.link.wire)
    @rule(most=st.integers(1, 20))
    def hear(self, most: int) -> None:
        """Some frames reach the device."""
        wire = self.process.link.wire if self.process.link is not None else None
        while wire and most:
            self.client.take(wire.popleft())
            most -= 1

    @rule(again=st.booleans())
    def acknowledge(self, again: bool) -> None:
        """The device says how far it is, perhaps once more."""
        link = self.process.link
        if link is None or link.auto_ack or self.client.parted:
            return
        marks = [
            Mark(conversation=name, delivered=cursor)
            for name, cursor in self.client.cursors.items()
            if again or cursor > self.client.acked.get(name, -1)
        ]
        if marks and link.session.identity is not None:
            self.client.acked = dict(self.client.cursors)
            self.process.receive([Receipt(marks=marks)])

    @precondition(lambda self: self.process.link is not None)
    @rule(alone=st.booleans(), now=SELDOM)
    def disconnect(self, alone: bool, now: bool) -> None:
        """The socket breaks, with whatever was in flight."""
        if now:
            self.process.disconnect(alone=alone)

    @rule(name=CONVERSATIONS, back=st.integers(1, 5), now=SELDOM)
    def restore_a_backup(self, name: str, back: int, now: bool) -> None:
        """The database goes back in time and gets a new epoch; every process starts anew."""
        if not now:
            return
        self.epoch += 1
        log = self.logs[name]
        log.restore(max(log.last_seq - back, log.stays[0].joined))
        self.stored[name] = min(self.stored.get(name, 0), log.last_seq)
        self.flying.clear()
        self.process.readings.clear()
        self.process.disconnect(alone=True)

    @invariant()
    def the_socket_is_written(self) -> None:
        """All that is due leaves, and is weighed against the window."""
        if hasattr(self, "process"):
            self.process.flush()

    @invariant()
    def a_session_behind_holds_numbers_only(self) -> None:
        """G10: what a session keeps of a conversation does not grow with the conversation."""
        if not hasattr(self, "process") or self.process.link is None:
            return
        feeds = self.process.link.session.feeds
        for name in feeds:
            feed = feeds.get(name)
            for slot in Feed.__slots__:
                if not isinstance(getattr(feed, slot), (int, type(None))):
                    raise Broken(f"a feed holds {slot}")

    def teardown(self) -> None:
        """When the world calms down the device has everything."""
        if not hasattr(self, "process") or isinstance(sys.exception(), Broken):
            return  # after a broken promise the rest proves nothing
        for _ in range(100):
            if self._is_in_step():
                break
            self._calm()
        else:
            raise Broken(f"never in step: {self.client.cursors}, lacks {self.client.lacks()}")

    def _calm(self) -> None:
        link = self.process.link
        if link is not None and link.session.closing is not None:
            self.hear(1_000)  # what was written before the socket closes
            self.process.disconnect(alone=True)
        if self.process.link is None:
            self.connect(auto_ack=False, anew=False)
        if self.process.link is not None and self.process.link.session.identity is None:
            self.welcome()
        if self.inbox_seen != self.inbox:
            self.refresh()
        for name in self.logs:
            self.process.catch_up(name)
        for reading in list(self.process.readings):
            self.process.arrive(reading, late=True)
        self.process.flush()
        self.hear(1_000)
        self.acknowledge(again=False)

    def _is_in_step(self) -> bool:
        ends = {name: log.end for name, log in self.logs.items()}
        link = self.process.link
        return (
            link is not None
            and link.session.closing is None
            and self.client.epoch == str(self.epoch)
            and {**ends, **self.client.cursors} == ends
            and not self.client.lacks()
        )


def play(*, examples: int) -> None:
    """Play the machine; the same games every time, so that a verdict never depends on luck."""
    run_state_machine_as_test(
        Delivery,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            phases=[Phase.generate],
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        ),
    )
