"""The page where something is in the way: storage, network, another tab, a text; in real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from tests.acceptance.page import Desk, Device, Sheet, eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TYPE = "const [field, text] = arguments; field.value = text; field.form.requestSubmit();"
FILL = """
    for (let size = 4_194_304; size >= 1; size /= 2)
        try { while (true) localStorage.setItem(`filler ${Math.random()}`, "x".repeat(size)); } catch { /* no room for so much */ }
"""
FORGET = """
    for (const key of Object.keys(localStorage)) if (key.startsWith(`lockstep:${arguments[0]}:conversation`)) localStorage.removeItem(key);
"""  # or a request would take the room of its stored messages
EMPTY = "for (const key of Object.keys(localStorage)) if (key.startsWith('filler')) localStorage.removeItem(key);"
KEPT = "return JSON.parse(localStorage['lockstep.devices']).map(({ key }) => key)"
BLOCK = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('Access is denied.', 'SecurityError'); } });"
# Where the last sign of a text stands, against its first.
SPREAD = """
    const [text] = arguments[0].childNodes, range = document.createRange();
    const left = (at) => (range.setStart(text, at), range.setEnd(text, at + 1), range.getBoundingClientRect().left);
    return left(text.length - 1) - left(0);
"""


def test_text_that_no_server_stores_stays_in_the_field(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Nothing of it is lost, and the device goes on."""
    alice, bob = pair
    text = "long " * 14_000 + "."
    desk.chrome.execute_script(TYPE, alice.find("textarea"), text)
    alice.tells("A message takes 65536 bytes and this one has 70001; shorten it.")
    assert alice.draft == text
    desk.chrome.execute_script(TYPE, alice.find("textarea"), "shorter")
    bob.shows("shorter")
    eventually(desk.chrome, lambda: (alice.phase, alice.texts(".notice")), ("open", [""]))


def test_message_whose_change_waits_offers_no_other_change(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """It would be based on the version before, and refused as if somebody else had been there."""
    alice, bob = pair
    alice.say("frist")
    bob.shows("frist")
    eventually(desk.chrome, lambda: alice.texts(".queue"), [""])
    alice.switch()
    alice.write(Keys.ARROW_UP, Keys.END, "!", Keys.ENTER)
    alice.shows("frist!")
    assert alice.message("frist!").find_element(By.CSS_SELECTOR, ".tools").get_property("hidden")
    alice.write(Keys.ARROW_UP)
    assert alice.draft != "frist"
    alice.write(Keys.ESCAPE)
    alice.switch()
    bob.shows("frist!")


def test_text_runs_in_the_direction_of_its_first_letter(pair: tuple[Device, Device]) -> None:
    """The end of a Hebrew sentence is on its left."""
    alice, _ = pair
    for body, is_left in [("שלום!", True), ("hello!", False)]:
        alice.say(body)
        alice.shows(body)
        shown = alice.message(body).find_element(By.CSS_SELECTOR, ".body")
        assert (alice.chrome.execute_script(SPREAD, shown) < 0) is is_left


def test_full_storage_is_told_and_holds_up_nothing_else(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """A device can be cut off, and logged out, which makes room."""
    phone = desk.add("bob")
    desk.chrome.execute_script(FORGET + FILL, phone.key)  # in one go, or it stores some anew
    try:
        phone.switch()
        eventually(desk.chrome, lambda: phone.phase, "closed")
        phone.say("no room")
        phone.tells("This browser's storage is full: what waits would be lost with the tab.")
        desk.put_away(phone)
    finally:
        desk.chrome.execute_script(EMPTY)


def test_conversations_have_their_names_though_no_call_is_answered(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """After a reload beside a server in trouble, or cut off: a hundred that are called "Conversation" are one."""
    alice, bob = pair
    bob.say("from whom?")
    alice.shows("from whom?")
    desk.chrome.execute_cdp_cmd("Network.enable", {})
    desk.chrome.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/api/*"]})
    try:
        desk.chrome.refresh()
        alice.tells("The server can't be reached; look at the network and try again.")
        assert alice.texts(".list .title") == ["bob", "Notes to self"]
        assert alice.texts(".author")[-1] == "bob"
    finally:
        desk.chrome.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    alice.tells("")


@pytest.mark.long
def test_tab_keeps_the_devices_that_another_tab_has_added_and_drops_those_it_has_logged_out(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Their tokens are nowhere else. What it logs out is gone everywhere."""
    alice, bob = pair
    with another_tab(desk.chrome, desk.address):
        desk.all_live(2)
        phone = desk.add("bob")
    alice.switch()
    alice.switch()
    assert desk.chrome.execute_script(KEPT) == [alice.key, bob.key, phone.key]
    desk.chrome.refresh()
    desk.all_live(3)
    with another_tab(desk.chrome, desk.address):
        desk.all_live(3)
        desk.put_away(phone)
    eventually(desk.chrome, lambda: [one.key for one in desk.devices], [alice.key, bob.key])
    desk.chrome.refresh()
    desk.all_live(2)
    kept = desk.chrome.execute_script("return Object.keys(localStorage)")
    assert not [name for name in kept if phone.key in name], "nothing of it stays behind"


def test_blocked_storage_and_an_absent_server_are_told_with_their_mend(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Not an empty page, nor "Failed to fetch"."""
    chrome = desk.chrome
    with another_tab(chrome, "about:blank"):
        chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": BLOCK})
        chrome.get(desk.address)
        told = chrome.find_element(By.CSS_SELECTOR, ".blocked")
        eventually(chrome, lambda: "Allow it for this site" in told.text, True)
    alice, _ = pair
    alice.find(".start").click()
    dialog = Sheet(chrome, "talk")
    chrome.set_network_conditions(offline=True, latency=0, throughput=0)
    try:
        dialog.field("search").send_keys("b")
        mend = "The server can't be reached; look at the network and try again."
        eventually(chrome, lambda: dialog.problem, mend)
    finally:
        chrome.delete_network_conditions()
    dialog.field("search").send_keys("o")
    eventually(chrome, lambda: (dialog.find(".found").text, dialog.problem), ("bob", ""))
    dialog.close()


@contextmanager
def another_tab(chrome: Chrome, address: str) -> Iterator[None]:
    """A second tab of the same browser, until the block ends."""
    first = chrome.current_window_handle
    chrome.switch_to.new_window("tab")
    chrome.get(address)
    second = chrome.current_window_handle
    try:
        yield
    finally:
        chrome.switch_to.window(second)
        chrome.close()
        chrome.switch_to.window(first)
