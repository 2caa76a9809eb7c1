"""What somebody wrote on the page, and what they have not seen yet: neither is lost; in real Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from selenium.webdriver import ActionChains, Keys

from messaging.client import Client
from project import services
from tests.acceptance.page import SELECT_ALL, SELECTED, Desk, Device, Sheet, eventually
from tests.acceptance.site import Serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LONG_NAME = "wolfeschlegelsteinhausenbergerdorff" * 4
PEOPLE = """
    INSERT INTO presence_user (username, password, first_name, last_name, email, is_superuser,
                               is_staff, is_active, date_joined)
    SELECT name, password, '', '', '', false, false, true, now()
    FROM presence_user, unnest(ARRAY['carl', %s]) AS name WHERE username = 'alice'
    ON CONFLICT DO NOTHING
"""  # with the demo user's password
# Nobody is told who came: the names are to be asked for.
FORGET_JOINED = """
    const [carl] = JSON.parse(localStorage["lockstep.devices"]).slice(-1);
    const key = `lockstep:${carl.key}:conversation:${carl.selected}`;
    const known = JSON.parse(localStorage[key]);
    localStorage[key] = JSON.stringify({ ...known, messages: known.messages.filter(({ kind }) => kind !== "system"), floor: 0 });
"""
# The browser tells of a scroll by a script a frame later, of a user's at once: until then the page would go to the end again.
TOP = "arguments[0].scrollTop = 0; arguments[0].dispatchEvent(new Event('scroll'));"
IN_SIGHT = """
    const [one, box] = [arguments[0], arguments[0].closest("ul")].map((element) => element.getBoundingClientRect());
    return one.left >= box.left && one.right <= box.right + 1;
"""
STICKS_OUT = "return [...arguments[0].querySelectorAll('.thread, .head')].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.className)"


def test_draft_waits_in_its_conversation(pair: tuple[Device, Device]) -> None:
    """What was meant for Bob is not sent to somebody else; an edit goes on where it was left, too."""
    alice, bob = pair
    alice.say("said")
    bob.shows("said")
    alice.write("for bob")
    alice.choose("Notes to self")
    assert alice.draft == ""
    alice.write("for me")
    alice.choose("bob")
    assert alice.draft == "for bob"
    alice.use("said", ".edit")
    alice.write(Keys.END, "!")
    alice.choose("Notes to self")
    assert alice.draft == "for me"
    alice.write(*SELECT_ALL, Keys.BACKSPACE)
    alice.choose("bob")
    assert (alice.draft, alice.find(".doing").is_displayed()) == ("said!", True)
    alice.write(Keys.ENTER)
    bob.shows("said!")
    assert (alice.draft, alice.find(".doing").is_displayed()) == ("for bob", False)
    alice.write(*SELECT_ALL, Keys.BACKSPACE)


@pytest.mark.long
def test_refused_text_returns_to_the_conversation_it_was_written_in(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Even if another one is on the screen, and something else is being written."""
    alice, bob = pair
    alice.say("contested")
    phone = desk.add("alice")
    phone.shows("contested")
    alice.switch()
    eventually(desk.chrome, lambda: alice.phase, "closed")
    alice.use("contested", ".edit")
    alice.write(*SELECT_ALL, "mine", Keys.ENTER)
    phone.use("contested", ".edit")
    phone.write(*SELECT_ALL, "theirs", Keys.ENTER)
    phone.shows("theirs")
    bob.shows("theirs")
    alice.write("draft")
    alice.choose("Notes to self")
    alice.switch()
    eventually(
        desk.chrome, lambda: "bob: That message was changed" in alice.texts(".notice")[0], True
    )
    assert alice.draft == ""
    alice.choose("bob")
    assert alice.draft == "draft"
    alice.write(Keys.ENTER)
    assert (alice.draft, alice.find(".doing").is_displayed()) == ("mine", True)
    alice.write(Keys.ENTER)
    bob.shows("mine", "draft")


def test_edit_is_based_on_what_it_began_with(desk: Desk, pair: tuple[Device, Device]) -> None:
    """What another device of the user wrote meanwhile is overwritten by nobody who has not read it."""
    alice, bob = pair
    alice.say("at noon")
    phone = desk.add("alice")
    phone.shows("at noon")
    alice.use("at noon", ".edit")
    alice.write("!")
    phone.use("at noon", ".edit")
    phone.write(*SELECT_ALL, "at one", Keys.ENTER)
    alice.shows("at one")
    alice.write(Keys.ENTER)
    alice.tells(
        "That message was changed elsewhere meanwhile. It is shown as it is now; change it again if you still want to."
    )
    assert (alice.texts()[-1], alice.draft) == ("at one", "at noon!")
    alice.write(Keys.ENTER)
    bob.shows("at noon!")


@pytest.mark.long
def test_draft_outlives_a_reload(desk: Desk, pair: tuple[Device, Device]) -> None:
    """Also one that waits in its conversation, and an edit; a browser reloads what was in its way by itself."""
    alice, bob = pair
    alice.say("begun")
    bob.shows("begun")
    alice.write("for bob")
    alice.use("begun", ".edit")
    alice.write("!")
    alice.choose("Notes to self")
    alice.write("for me")
    desk.chrome.refresh()
    desk.pair()
    assert (alice.texts(SELECTED), alice.draft) == (["Notes to self"], "for me")
    alice.write(*SELECT_ALL, Keys.BACKSPACE)
    alice.choose("bob")
    alice.write(Keys.ENTER)
    bob.shows("begun!")
    assert alice.draft == "for bob"
    alice.write(Keys.ENTER)
    bob.shows("begun!", "for bob")
    desk.chrome.refresh()
    desk.pair()
    assert alice.draft == "", "what is sent is no draft any more"


@pytest.mark.long
def test_key_that_ends_an_input_method_sends_nothing(pair: tuple[Device, Device]) -> None:
    """Safari has ended the composition when it tells of it; the code of the key is that of a key in use."""
    alice, _ = pair
    alice.write("kanji")
    key = {"type": "rawKeyDown", "key": "Enter", "windowsVirtualKeyCode": 229}
    alice.chrome.execute_cdp_cmd("Input.dispatchKeyEvent", key)
    assert alice.draft == "kanji"
    alice.write(*SELECT_ALL, Keys.BACKSPACE)


@pytest.mark.long
def test_key_that_ends_the_candidates_of_an_input_method_leaves_an_edit_alone(
    pair: tuple[Device, Device],
) -> None:
    """Escape is for them, not for the edit: that would be gone."""
    alice, bob = pair
    alice.say("kana")
    bob.shows("kana")
    alice.use("kana", ".edit")
    alice.write("!")
    for kind in ("rawKeyDown", "keyUp"):
        key = {"type": kind, "key": "Escape", "windowsVirtualKeyCode": 229}
        alice.chrome.execute_cdp_cmd("Input.dispatchKeyEvent", key)
    assert (alice.draft, alice.find(".doing").is_displayed()) == ("kana!", True)
    alice.write(Keys.ESCAPE)


@pytest.mark.long
def test_key_that_is_held_sends_no_draft_that_comes_after(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """What waits comes into the field as soon as that is empty; it was not what the key was pressed for."""
    alice, bob = pair
    alice.say("held")
    bob.shows("held")
    alice.write("not yet")
    alice.use("held", ".edit")
    alice.write("!", Keys.ENTER)
    assert alice.draft == "not yet"
    key = {"type": "rawKeyDown", "key": "Enter", "windowsVirtualKeyCode": 13, "autoRepeat": True}
    desk.chrome.execute_cdp_cmd("Input.dispatchKeyEvent", key)
    assert alice.draft == "not yet"
    alice.write(*SELECT_ALL, Keys.BACKSPACE)


@pytest.mark.long
def test_second_click_of_a_double_one_sends_no_draft_and_the_field_stays_in_use(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """On a phone the keyboard would fold away with each message; what is typed next would go nowhere."""
    alice, bob = pair
    alice.say("clicked")
    bob.shows("clicked")
    alice.write("not yet")
    alice.use("clicked", ".edit")
    alice.write("!")
    ActionChains(desk.chrome).double_click(alice.find(".send")).perform()
    bob.shows("clicked!")
    assert alice.draft == "not yet"
    ActionChains(desk.chrome).send_keys(Keys.END, ", still").perform()
    assert alice.draft == "not yet, still"
    alice.write(*SELECT_ALL, Keys.BACKSPACE)


@dataclass(frozen=True, kw_only=True)
class Guests:
    """Carl's device on the page, and somebody with a long name elsewhere, with whom he is in a group."""

    carl: Device
    other: Client
    group: str

    async def say(self, *bodies: str, **more: Any) -> None:
        for body in bodies:
            self.other.send(self.group, body, **more)
        await self.other.settled()


@pytest.fixture
async def guests(desk: Desk, pair: tuple[Device, Device], site: Serving) -> AsyncIterator[Guests]:
    """Nothing that they do shows on Alice's or Bob's device."""
    with psycopg.connect(services.locate(site.directory).database_url, autocommit=True) as sql:
        sql.execute(PEOPLE, [LONG_NAME])
    async with await Client.log_in(site.address, username=LONG_NAME, password="lockstep") as other:
        title = f"Guests {uuid4().hex[:6]}"
        about = {"kind": "group", "title": title, "members": [{"username": "carl"}]}
        group = str((await other.rest.call("POST", "/conversations", about))["conversation"])
        form = Sheet(desk.chrome, "login")
        desk.chrome.execute_script("arguments[0].showModal()", form.element)
        form.field("username").send_keys("carl")
        form.field("password").send_keys("lockstep", Keys.ENTER)
        desk.all_live(3)
        carl = desk.devices[-1]
        eventually(desk.chrome, lambda: title in carl.texts(".list .title"), True)
        carl.choose(title)
        yield Guests(carl=carl, other=other, group=group)
        desk.put_away(carl)


@pytest.mark.long
async def test_what_is_below_the_screen_is_not_read_until_it_is_looked_at(
    desk: Desk, guests: Guests
) -> None:
    """Who reads back is told that something came, and the sender does not see it as read."""
    carl = guests.carl
    await guests.say(*(f"line {n}" for n in range(60)))
    carl.shows("line 59")
    carl.look()
    eventually(desk.chrome, lambda: carl.unread, "")
    desk.chrome.execute_script(TOP, carl.find(".thread"))
    await guests.say("below")
    eventually(desk.chrome, lambda: carl.texts(".newer"), ["1 new message"])
    assert carl.unread == "1"
    carl.find(".newer").click()
    eventually(desk.chrome, lambda: (carl.unread, carl.find(".newer").is_displayed()), ("", False))


@pytest.mark.long
async def test_files_of_a_message_are_named_and_fetched(
    desk: Desk, guests: Guests, tmp_path: Path
) -> None:
    """One that can't be fetched says so."""
    chrome, carl = desk.chrome, guests.carl
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    chrome.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    file = await guests.other.rest.upload(b"the plan " * 1000, name="plän <b>.txt")
    await guests.say("look", attachments=[file])
    eventually(chrome, lambda: carl.texts(".file"), ["plän <b>.txt · 9 kB"])
    carl.find(".file").click()
    eventually(chrome, lambda: [one.stat().st_size for one in tmp_path.glob("*.txt")], [9000])
    chrome.set_network_conditions(offline=True, latency=0, throughput=0)
    try:
        carl.find(".file").click()
        lost = "The server can't be reached; look at the network and try again."
        carl.tells(f"plän <b>.txt was not fetched. {lost}")
    finally:
        chrome.delete_network_conditions()


@pytest.mark.long
async def test_long_name_stays_inside_a_narrow_card(desk: Desk, guests: Guests) -> None:
    """At 360 px: beside its messages, in what the server announces, while a question is asked."""
    carl = guests.carl
    await guests.say("hi")
    carl.shows("hi")
    metrics = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    desk.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        carl.switch()
        carl.say("waits")
        eventually(desk.chrome, lambda: carl.texts(".queue"), ["1 waiting"])
        carl.find(".logout").click()
        assert desk.chrome.execute_script(STICKS_OUT, carl.card) == []
        eventually(desk.chrome, lambda: carl.texts(".logout.sure"), [])
    finally:
        desk.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.long
async def test_who_was_removed_is_told_why_nothing_can_be_written(
    desk: Desk, guests: Guests
) -> None:
    """And the text that was refused for it can be copied."""
    carl = guests.carl
    carl.switch()
    carl.say("too late")
    user = desk.chrome.execute_script(
        "return JSON.parse(localStorage['lockstep.devices']).at(-1).user"
    )
    await guests.other.rest.call("DELETE", f"/conversations/{guests.group}/members/{user}")
    carl.switch()
    field = carl.find("textarea")
    eventually(
        desk.chrome,
        lambda: field.get_attribute("placeholder"),
        "You are not in this conversation any more",
    )
    eventually(desk.chrome, lambda: carl.draft, "too late")
    assert field.get_property("readOnly")
    assert not carl.find(".send").is_enabled()


@pytest.mark.long
async def test_author_who_has_left_is_named_and_what_could_not_be_asked_is_asked_again(
    desk: Desk, guests: Guests
) -> None:
    """Names come by REST, and from what the server announces; nobody is "somebody" for a call that failed once."""
    carl, other, chrome = guests.carl, guests.other, desk.chrome
    await guests.say("hi")
    carl.shows("hi")
    chrome.execute_cdp_cmd("Network.enable", {})
    chrome.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/members"]})
    try:
        chrome.execute_script(FORGET_JOINED)
        chrome.refresh()
        carl.tells("The server can't be reached; look at the network and try again.")
    finally:
        chrome.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    eventually(chrome, lambda: carl.texts(".author")[-1], LONG_NAME)
    carl.tells("")
    await other.rest.call("DELETE", f"/conversations/{guests.group}/members/{other.core.user}")
    eventually(chrome, lambda: carl.texts(".system")[-1:], [f"{LONG_NAME} left"])
    chrome.refresh()
    carl.shows("hi")
    eventually(chrome, lambda: carl.texts(".author")[-1], LONG_NAME)


@pytest.mark.long
async def test_conversation_in_use_is_in_sight_among_many_and_a_mouse_reaches_the_others(
    desk: Desk, guests: Guests
) -> None:
    """Also after a reload. Whoever has no wheel that goes sideways needs something to drag."""
    chrome, carl = desk.chrome, guests.carl
    about = {"kind": "group", "members": [{"username": "carl"}]}
    for n in range(20):
        await guests.other.rest.call(
            "POST", "/conversations", about | {"title": f"One of many, {n}"}
        )
    eventually(chrome, lambda: "One of many, 19" in carl.texts(".list .title"), True)
    carl.choose("Notes to self")  # the last one
    eventually(chrome, lambda: chrome.execute_script(IN_SIGHT, carl.find("[aria-current]")), True)
    chrome.refresh()
    desk.all_live(3)
    eventually(chrome, lambda: chrome.execute_script(IN_SIGHT, carl.find("[aria-current]")), True)
    assert carl.find(".list ul").value_of_css_property("scrollbar-width") == "thin"


@pytest.mark.long
async def test_new_title_is_shown_where_the_old_one_was(desk: Desk, guests: Guests) -> None:
    """No frame tells of it but the message that says so."""
    carl, path = guests.carl, f"/conversations/{guests.group}"
    await guests.other.rest.call("PATCH", path, {"title": "Retitled"})
    eventually(desk.chrome, lambda: "Retitled" in carl.texts(".list .title"), True)
