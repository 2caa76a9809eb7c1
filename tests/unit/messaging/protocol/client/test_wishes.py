"""How the server comes to know what the application wishes."""

import pytest

from messaging.protocol import Refused
from messaging.protocol.client.happenings import PresenceAnswered
from messaging.protocol.client.wishes import Wishes
from messaging.protocol.frames import Error, PresenceSet, PresenceWatch


def busy(ref: str) -> Error:
    """A refusal for a while."""
    return Error(code="busy", message="…", retry_after=1_000, ref=ref)


def answered(*calls: int, error: Error | None = None) -> PresenceAnswered:
    """What the application is told."""
    return PresenceAnswered(calls=list(calls), error=error)


def test_a_wish_is_sent_and_answered() -> None:
    """The answer names the call."""
    wishes = Wishes()
    assert wishes.due(0) == []
    assert wishes.set(state="away", text="lunch", until=9, invisible=False) == 1
    (frame,) = wishes.due(0)
    assert frame == PresenceSet(state="away", text="lunch", until=9, invisible=False, ref="set-1")
    assert wishes.has("set-1")
    assert wishes.answered(None) == wishes.answered("set-2") == []
    assert wishes.answered("set-1") == [answered(1)]
    assert wishes.answered("set-1") == []
    assert wishes.due(0) == []


def test_what_is_wished_meanwhile_goes_out_together_after_the_answer() -> None:
    """A user who plays with a switch sends few frames, and the last position wins."""
    wishes = Wishes()
    wishes.set(state="away")
    wishes.due(0)
    wishes.set(state="online")
    wishes.set(state="away", text="lunch")
    assert wishes.due(1) == []
    wishes.answered("set-1")
    assert wishes.due(2) == [PresenceSet(state="away", text="lunch", ref="set-2")]
    assert wishes.answered("set-2") == [answered(2, 3)]


def test_a_watch_list_replaces_the_one_before() -> None:
    """Both kinds are under way at the same time."""
    wishes = Wishes()
    wishes.set(text="")
    wishes.watch(["u1"])
    wishes.watch(["u2", "u3"])
    assert wishes.due(0) == [
        PresenceSet(text="", ref="set-1"),
        PresenceWatch(users=["u2", "u3"], ref="watch-1"),
    ]
    assert wishes.answered("watch-1") == [answered(2, 3)]
    wishes.watch([])
    assert wishes.due(1) == [PresenceWatch(users=[], ref="watch-2")]


def test_a_new_session_hears_what_its_predecessor_did_not_answer() -> None:
    """And that the user is away, and whom to watch, in any case."""
    wishes = Wishes()
    wishes.set(state="away")
    wishes.watch(["u2"])
    wishes.due(0)
    wishes.answered("set-1")
    wishes.answered("watch-1")
    wishes.set(text="back soon")
    wishes.due(1)
    wishes.set(text="back late", invisible=True)
    wishes.restart()
    assert wishes.due(2) == [
        PresenceSet(state="away", text="back late", invisible=True, ref="set-3"),
        PresenceWatch(users=["u2"], ref="watch-2"),
    ]
    assert wishes.answered("set-3") == [answered(3, 4)]


def test_a_new_session_is_online_without_being_told() -> None:
    """But a call is answered, even one that wishes for nothing."""
    wishes = Wishes()
    wishes.set(state="away")
    wishes.due(0)
    wishes.answered("set-1")
    wishes.set(state="online")
    wishes.due(1)
    wishes.answered("set-2")
    wishes.restart()
    assert wishes.due(2) == []
    wishes.set()
    assert wishes.due(3) == [PresenceSet(ref="set-3")]
    assert wishes.answered("set-3") == [answered(3)]


def test_a_wish_refused_for_a_while_is_sent_again() -> None:
    """With whatever was wished since."""
    wishes = Wishes()
    wishes.set(state="away")
    wishes.due(0)
    assert wishes.refused(busy("set-1"), again=1_000) == []
    wishes.set(text="lunch")
    assert wishes.due(999) == []
    deadlines = [wishes.deadline]
    assert wishes.due(1_000) == [PresenceSet(state="away", text="lunch", ref="set-2")]
    deadlines.append(wishes.deadline)
    assert deadlines == [1_000, None]
    wishes.refused(busy("set-2"), again=5_000)
    wishes.restart()
    assert wishes.due(2_000) == [PresenceSet(state="away", text="lunch", ref="set-3")], "at once"


def test_a_wish_refused_for_good_is_told_and_forgotten() -> None:
    """Repeating it would not help."""
    wishes = Wishes()
    wishes.watch(["nobody"])
    wishes.due(0)
    error = Error(code="bad_frame", message="…", ref="watch-1")
    assert wishes.refused(error, again=None) == [answered(1, error=error)]
    assert wishes.due(1) == []
    assert wishes.refused(error, again=None) == []


def test_a_text_that_can_not_be_stored_is_refused_at_once() -> None:
    """Nothing else of the call is kept."""
    wishes = Wishes()
    for text in ("x" * 141, "\x00", "\ud800"):
        with pytest.raises(Refused):
            wishes.set(state="away", text=text)
    assert wishes.state == "online"
    assert wishes.due(0) == []
