"""What one look shows: each session one frame, of whom it may see, encoded once for all who see the same."""

from __future__ import annotations

from messaging.hub.circles import Circles
from messaging.hub.showing import Showing, entry_of
from messaging.protocol.codec import MSGPACK
from messaging.protocol.frames import DevicePresence, Presence, PresenceWatch, UserPresence
from messaging.protocol.server.outgoing import MOST_USERS
from presence.liveness import View
from tests.unit.messaging.hub.links import Seen

ONLINE = {user: View(user=user, state="online") for user in ("ann", "bob", "cas")}
OFFLINE = View(user="dan")


class Scene:
    """Ann, Bob and Cas are online in conversation `c`, and Dan is not here; Ann and Bob have sessions."""

    def __init__(self) -> None:
        self.ann, self.bob = Seen("ann", "c"), Seen("bob", "c", codec=MSGPACK)
        self.circles = Circles()
        self.circles.open("c", {self.ann, self.bob})
        self.circles.put("c", {"ann": 1, "bob": 1, "cas": 1, "dan": 1})
        self.shown: dict[str, View] = {**ONLINE, "dan": OFFLINE}
        self.own: dict[str, View] = {
            user: View(user=user, state="online", invisible=True) for user in ("ann", "bob")
        }
        self.showing = Showing(self.circles, self.shown, self.own)

    def told(self, link: Seen, *, stale: bool = False) -> dict[str, str]:
        """Who was shown to a session in its one frame, and how."""
        self.showing.offer(stale=stale)
        [frame] = link.heard()
        assert isinstance(frame, Presence)
        assert frame.stale is stale
        return {entry.user: entry.state for entry in frame.users}


def test_news_reach_everyone_who_may_see_the_user_in_one_frame() -> None:
    scene = Scene()
    scene.showing.news("cas", first=False)
    scene.showing.news("bob", first=True)
    assert scene.told(scene.ann) == {"cas": "online", "bob": "online"}
    assert scene.told(scene.bob) == {"cas": "online"}
    assert (scene.ann.woken, scene.bob.woken) == (1, 1)


def test_who_is_simply_offline_is_news_only_if_that_is_new() -> None:
    scene = Scene()
    scene.showing.news("dan", first=True)
    scene.showing.offer(stale=False)
    assert scene.ann.heard() == []
    scene.showing.news("dan", first=False)
    assert scene.told(scene.ann) == {"dan": "offline"}


def test_new_session_is_told_of_itself_and_of_everyone_who_is_here() -> None:
    scene = Scene()
    scene.showing.entered(scene.ann, ["c", "unread"])
    assert scene.told(scene.ann) == {"ann": "online", "bob": "online", "cas": "online"}


def test_new_session_is_told_something_even_if_nobody_is_known() -> None:
    scene, eve = Scene(), Seen("eve")
    scene.showing.entered(eve, ["c"])
    assert scene.told(eve) == {}


def test_only_own_sessions_see_the_own_entry() -> None:
    scene = Scene()
    scene.showing.to_self("ann", [scene.ann])
    scene.showing.offer(stale=False)
    assert scene.ann.heard() == [
        Presence(users=[UserPresence(user="ann", state="online", invisible=True)])
    ]
    assert scene.bob.heard() == []


def test_who_came_to_a_circle_is_shown_and_sees() -> None:
    scene, eve = Scene(), Seen("eve", "c")
    scene.shown["eve"] = View(user="eve", state="away")
    circle = scene.circles.open("c", {scene.ann, eve})
    circle.links.add(eve)
    change = scene.circles.put("c", {"ann": 1, "bob": 1, "eve": 1})
    assert change is not None
    scene.showing.changed(change)
    assert scene.told(eve) == {"ann": "online", "bob": "online"}
    assert scene.told(scene.ann) == {"eve": "away", "cas": "offline", "dan": "offline"}


def test_who_went_is_hidden_and_sees_nobody_unless_they_meet_elsewhere() -> None:
    scene = Scene()
    scene.circles.open("other", {scene.ann, scene.bob})
    scene.circles.put("other", {"bob": 1, "cas": 1})
    change = scene.circles.put("c", {"ann": 1, "cas": 1})
    assert change is not None
    scene.showing.changed(change)
    assert scene.told(scene.bob) == {"ann": "offline", "dan": "offline"}
    assert scene.told(scene.ann) == {"bob": "offline", "dan": "offline"}


def test_session_of_no_member_is_told_nothing_of_a_change() -> None:
    scene, eve = Scene(), Seen("eve", "c")
    circle = scene.circles.get("c")
    assert circle is not None
    circle.links.add(eve)
    change = scene.circles.put("c", {"ann": 2})
    assert change is not None
    scene.showing.changed(change)
    scene.showing.offer(stale=False)
    assert eve.heard() == []


def test_watch_list_is_answered_and_whoever_is_taken_off_it_is_not_called_offline() -> None:
    scene = Scene()
    link = scene.ann
    frame = PresenceWatch(users=["ann", "dan", "dan", "stranger"], ref=1)
    scene.circles.drop("c")
    scene.circles.open(link, {link}, asked=("bob",))
    scene.circles.put(link, {"ann": 1, "bob": 1})
    scene.circles.open(link, {link}, asked=tuple(frame.users))
    change = scene.circles.put(link, {"ann": 1, "dan": 1})
    assert change is not None
    scene.showing.changed(change)
    scene.showing.answer(link, frame, stale=True)
    scene.showing.offer(stale=True)
    answer, *others = link.heard()
    assert isinstance(answer, Presence)
    assert [entry.user for entry in answer.users] == ["ann", "dan"]
    assert (answer.ref, answer.stale) == (1, True)
    assert all(isinstance(frame, Presence) and frame.users == [] for frame in others)


def test_watch_list_of_a_session_that_is_gone_is_answered_with_nobody() -> None:
    scene, eve = Scene(), Seen("eve")
    scene.showing.answer(eve, PresenceWatch(users=["bob"]), stale=False)
    assert eve.heard() == [Presence()]


def test_stale_is_said_to_whoever_is_touched() -> None:
    scene = Scene()
    scene.showing.touch(scene.ann)
    assert scene.told(scene.ann, stale=True) == {}


def test_frame_holds_a_bounded_number_of_users() -> None:
    scene = Scene()
    many = {f"u{n}": View(user=f"u{n}", state="away") for n in range(MOST_USERS + 1)}
    scene.shown.update(many)
    scene.circles.put("c", {"ann": 1, **dict.fromkeys(many, 1)})
    scene.showing.entered(scene.ann, ["c"])
    scene.showing.offer(stale=False)
    sizes = [len(frame.users) for frame in scene.ann.heard() if isinstance(frame, Presence)]
    assert sizes == [MOST_USERS, 2]


def test_entry_says_what_the_view_does() -> None:
    view = View(
        user="u",
        state="away",
        text="t",
        until=1,
        last_seen=2,
        invisible=True,
        devices=(("d", "away"),),
    )
    assert entry_of(view) == UserPresence(
        user="u",
        state="away",
        text="t",
        until=1,
        last_seen=2,
        invisible=True,
        devices=[DevicePresence(device="d", state="away")],
    )
