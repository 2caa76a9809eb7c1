"""What a device believes of others."""

from messaging.protocol.client.happenings import PresenceChanged
from messaging.protocol.client.others import Others
from messaging.protocol.frames import Presence, UserPresence

BOB = UserPresence(user="u2", state="online", text="at lunch")
BOB_AWAY = UserPresence(user="u2", state="away")
BOB_GONE = UserPresence(user="u2", state="offline")
CAROL = UserPresence(user="u3", state="online")
DAVE_GONE = UserPresence(user="u4", state="offline", last_seen=5)


def told(*users: UserPresence, stale: bool = False) -> PresenceChanged:
    """What the application is told."""
    return PresenceChanged(users=list(users), stale=stale)


def test_the_newest_entry_of_a_user_counts_and_is_told_once() -> None:
    """A repeat is no news."""
    others = Others()
    assert others.stale, "nothing is known before a session"
    assert others.heard(Presence(users=[BOB])) == [told(BOB)]
    assert others.heard(Presence(users=[BOB])) == []
    assert others.heard(Presence(users=[BOB_AWAY, CAROL])) == [told(BOB_AWAY, CAROL)]
    assert others.users == {"u2": BOB_AWAY, "u3": CAROL}


def test_whom_the_first_frame_of_a_session_does_not_name_is_offline() -> None:
    """Somebody left, or became invisible, while this device was away."""
    others = Others()
    others.heard(Presence(users=[BOB, CAROL, DAVE_GONE]))
    assert others.lose() == [told(stale=True)]
    assert others.lose() == []
    assert others.users.keys() == {"u2", "u3", "u4"}, "it is still shown, greyed"
    others.restart()
    assert others.heard(Presence(users=[CAROL])) == [told(BOB_GONE)]
    assert others.users == {"u3": CAROL}
    assert others.heard(Presence(users=[])) == [], "later frames only change"


def test_a_stale_frame_and_an_answer_forget_nobody() -> None:
    """They do not name everybody."""
    others = Others()
    others.heard(Presence(users=[BOB]))
    others.lose()
    others.restart()
    assert others.heard(Presence(users=[], stale=True)) == []
    assert others.heard(Presence(users=[CAROL], ref="watch-1")) == [told(CAROL)]
    assert others.users == {"u2": BOB, "u3": CAROL}
    assert others.heard(Presence(users=[CAROL])) == [told(BOB_GONE)]


def test_whom_the_session_has_named_before_it_was_certain_stays() -> None:
    """They are told once; what is certain then tells only what changed since."""
    others = Others()
    others.heard(Presence(users=[BOB]))
    others.lose()
    others.restart()
    others.heard(Presence(users=[CAROL], stale=True))
    others.heard(Presence(users=[DAVE_GONE], ref="watch-1"))
    assert others.heard(Presence()) == [told(BOB_GONE)]
    assert others.users == {"u3": CAROL, "u4": DAVE_GONE}


def test_the_server_says_when_it_can_not_know() -> None:
    """And when it knows again."""
    others = Others()
    others.heard(Presence(users=[BOB]))
    assert others.heard(Presence(stale=True)) == [told(stale=True)]
    assert others.heard(Presence()) == [told()]
