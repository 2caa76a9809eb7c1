"""The page at `/`: devices of two users side by side, used with mouse and keyboard in real Chromium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from selenium.common.exceptions import (
    InvalidSessionIdException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.acceptance.browser import chromium  # noqa: F401  (fixtures)
from tests.acceptance.site import site  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SELECTED = "[aria-current] .title"
SELECT_ALL = (Keys.CONTROL, "a", Keys.NULL)
REVOKE = """
    const [revoked, by] = [...arguments].map((key) => JSON.parse(localStorage["lockstep.devices"]).find((one) => one.key === key));
    const { device } = JSON.parse(localStorage[`lockstep:${revoked.key}:session`]);
    fetch(`/api/devices/${device}`, { method: "DELETE", headers: { Authorization: `Bearer ${by.token}` } });
"""
PATIENCE_S = 15  # reached only when a promise is broken


def eventually(chrome: Chrome, look: Callable[[], Any], expected: Any) -> None:
    """Wait until the page shows what is expected; say what it showed instead."""
    seen: list[Any] = [None]

    def shows(_: Chrome) -> bool:
        seen[0] = look()
        return bool(seen[0] == expected)

    wait = WebDriverWait(
        chrome,
        PATIENCE_S,
        poll_frequency=0.05,
        ignored_exceptions=(StaleElementReferenceException, IndexError),
    )
    try:
        wait.until(shows)
    except WebDriverException:
        assert seen[0] == expected


class Device:
    """One card of the page."""

    def __init__(self, chrome: Chrome, key: str) -> None:
        self.chrome, self.key = chrome, key

    @property
    def card(self) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, f'[data-device="{self.key}"]')

    def find(self, selector: str) -> WebElement:
        return self.card.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str = ".message .body") -> list[str]:
        script = (
            "return [...arguments[0].querySelectorAll(arguments[1])].map((one) => one.textContent)"
        )
        found: list[str] = self.chrome.execute_script(script, self.card, selector)
        return found

    @property
    def phase(self) -> str | None:
        return self.card.get_attribute("data-phase")

    @property
    def unread(self) -> str:
        return "".join(self.texts("[aria-current] .badge"))

    def ticks(self, body: str) -> str:
        """How far a message of the own user has got."""
        return (
            self.message(body).find_element(By.CSS_SELECTOR, ".ticks").get_attribute("data-ticks")
            or ""
        )

    def message(self, body: str) -> WebElement:
        at = self.texts().index(body)
        return self.card.find_elements(By.CSS_SELECTOR, ".message")[at]

    def write(self, *keys: str) -> None:
        self.find("textarea").send_keys(*keys)

    def say(self, body: str) -> None:
        self.write(body, Keys.ENTER)

    def use(self, body: str, tool: str) -> None:
        """Point at a message, then press one of its tools."""
        message = self.message(body)
        ActionChains(self.chrome).move_to_element(message).perform()
        message.find_element(By.CSS_SELECTOR, tool).click()

    def switch(self) -> None:
        """Cut the device off, or connect it again."""
        self.find(".switch").click()

    def log_out(self) -> None:
        """Press the button, and once more when it asks."""
        self.find(".logout").click()
        self.find(".logout.sure").click()

    def look(self) -> None:
        """Do what a user does who looks at a device: touch it."""
        self.find(".head").click()

    def shows(self, *expected: str) -> None:
        eventually(self.chrome, lambda: self.texts()[-len(expected) :], list(expected))


class Desk:
    """The page with its devices."""

    def __init__(self, chrome: Chrome, address: str) -> None:
        self.chrome, self.address = chrome, address

    @property
    def devices(self) -> list[Device]:
        cards = self.chrome.find_elements(By.CSS_SELECTOR, ".pane")
        return [Device(self.chrome, card.get_attribute("data-device") or "") for card in cards]

    def open(self) -> tuple[Device, Device]:
        """Visit the page as if for the first time: one device of Alice, one of Bob."""
        self.chrome.get(self.address)
        self.chrome.execute_script("localStorage.clear()")
        self.chrome.get(self.address)
        titles = [["bob"], ["alice"]]
        eventually(self.chrome, lambda: [one.texts(SELECTED) for one in self.devices], titles)
        return self.pair()

    def pair(self) -> tuple[Device, Device]:
        """The two devices, connected."""
        self.all_live(2)
        alice, bob = self.devices
        return alice, bob

    def all_live(self, count: int) -> None:
        eventually(self.chrome, lambda: [one.phase for one in self.devices], ["open"] * count)
        eventually(self.chrome, self._selected, [1] * count)

    def _selected(self) -> list[int]:
        return [len(device.texts("[aria-current]")) for device in self.devices]

    def add(self, username: str) -> Device:
        count = len(self.devices)
        self.chrome.find_element(By.CSS_SELECTOR, f'[data-add="{username}"]').click()
        self.all_live(count + 1)
        return self.devices[-1]

    def tidy(self) -> tuple[Device, Device]:
        """After whatever a test did: the first two devices, connected, everything read, Alice's in use."""
        for device in self.devices:
            if device.phase == "closed":
                device.switch()
        self.all_live(len(self.devices))
        for device in self.devices[2:]:
            device.log_out()
        alice, bob = self.pair()
        bob.look()
        alice.look()
        eventually(self.chrome, lambda: [alice.unread, bob.unread], ["", ""])
        return alice, bob


@pytest.fixture(scope="module")
def desk(chromium: Chrome, site: str) -> Desk:  # noqa: F811
    """A first visit to the page."""
    desk = Desk(chromium, site)
    desk.open()
    return desk


@pytest.fixture
def pair(desk: Desk) -> tuple[Device, Device]:
    """A device of Alice, a device of Bob, both on the conversation of the two."""
    return desk.tidy()


def test_first_visit_shows_a_device_of_each_demo_user_in_their_conversation(
    pair: tuple[Device, Device],
) -> None:
    """Nobody has to set anything up to see two users talk."""
    assert [device.texts(".user") for device in pair] == [["alice"], ["bob"]]
    assert [device.texts(SELECTED) for device in pair] == [["bob"], ["alice"]]


def test_ticks_tell_stored_then_delivered_then_read(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """One tick while Bob is away, two when his device has it, coloured when he looks."""
    alice, bob = pair
    bob.switch()
    alice.say("is anybody there?")
    eventually(desk.chrome, lambda: alice.ticks("is anybody there?"), "stored")
    bob.switch()
    bob_sees = "is anybody there?"
    bob.shows(bob_sees)
    alice.look()
    eventually(desk.chrome, lambda: alice.ticks(bob_sees) in {"delivered", "read"}, True)
    bob.look()
    eventually(desk.chrome, lambda: alice.ticks(bob_sees), "read")


def test_message_counts_as_unread_until_the_device_is_used(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """What arrives on a screen nobody touches is delivered, not read."""
    alice, bob = pair
    alice.say("one")
    alice.say("two")
    eventually(desk.chrome, lambda: bob.unread, "2")
    eventually(desk.chrome, lambda: alice.ticks("two"), "delivered")
    bob.look()
    eventually(desk.chrome, lambda: bob.unread, "")
    eventually(desk.chrome, lambda: alice.ticks("two"), "read")


def test_receipts_are_told_in_a_sentence_on_a_click(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """The ticks open the list of devices."""
    alice, bob = pair
    alice.say("who has this?")
    eventually(desk.chrome, lambda: alice.ticks("who has this?"), "delivered")
    alice.message("who has this?").find_element(By.CSS_SELECTOR, ".ticks").click()
    box = desk.chrome.find_element(By.ID, "receipts")
    eventually(
        desk.chrome, lambda: box.text.split("\n")[0], "delivered to 1 of 1 device, read by 0"
    )
    assert "bob, Laptop: delivered by" in box.text
    alice.write(Keys.ESCAPE)
    assert bob.texts()[-1] == "who has this?"


def test_edits_and_deletions_show_on_every_device(desk: Desk, pair: tuple[Device, Device]) -> None:
    """An edit keeps its place and is marked; a deletion leaves a tombstone."""
    alice, bob = pair
    for body in ("first", "secnod", "third"):
        alice.say(body)
    bob.shows("first", "secnod", "third")
    alice.use("secnod", ".edit")
    alice.write(*SELECT_ALL, "second", Keys.ENTER)
    bob.shows("first", "second", "third")
    assert bob.message("second").find_element(By.CSS_SELECTOR, ".edited").is_displayed()
    alice.use("third", ".delete")
    bob.shows("first", "second", "This message was deleted")
    alice.shows("first", "second", "This message was deleted")


def test_arrow_up_edits_the_newest_own_message_and_escape_lets_it_be(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Everything can be done from the keyboard."""
    alice, bob = pair
    alice.say("mistkae")
    bob.shows("mistkae")
    alice.write(Keys.ARROW_UP)
    assert alice.find("textarea").get_property("value") == "mistkae"
    alice.write(Keys.ESCAPE)
    assert alice.find("textarea").get_property("value") == ""
    alice.write(Keys.ARROW_UP, *SELECT_ALL, "mistake", Keys.ENTER)
    bob.shows("mistake")


def test_others_messages_offer_no_tools(desk: Desk, pair: tuple[Device, Device]) -> None:
    """What the server would refuse is not offered."""
    alice, bob = pair
    alice.say("mine")
    bob.shows("mine")
    tools = bob.message("mine").find_element(By.CSS_SELECTOR, ".tools")
    assert tools.get_property("hidden")


def test_device_that_was_cut_off_sends_and_catches_up(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Offline it keeps what is written; back again it has everything, in one order."""
    alice, bob = pair
    bob.switch()
    eventually(desk.chrome, lambda: bob.phase, "closed")
    alice.say("while you were away 1")
    alice.say("while you were away 2")
    bob.say("written in a tunnel")
    eventually(desk.chrome, lambda: bob.ticks("written in a tunnel"), "waiting")
    eventually(desk.chrome, lambda: bob.texts(".queue"), ["1 waiting"])
    eventually(desk.chrome, lambda: "2 behind" in bob.texts(".counter")[0], True)
    bob.switch()
    told = ("while you were away 1", "while you were away 2", "written in a tunnel")
    bob.shows(*told)
    alice.shows(*told)
    eventually(
        desk.chrome,
        lambda: (bob.texts(".queue"), "behind" in bob.texts(".counter")[0]),
        ([""], False),
    )


def test_second_device_of_a_user_shows_the_history_and_clears_the_badge_of_the_first(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Devices of one user are one person."""
    alice, bob = pair
    alice.say("for all your devices")
    bob.shows("for all your devices")
    phone = desk.add("bob")
    phone.shows("for all your devices")
    phone.look()
    eventually(desk.chrome, lambda: bob.unread, "")
    phone.say("from the phone")
    bob.shows("for all your devices", "from the phone")
    assert "own" in (bob.message("from the phone").get_attribute("class") or "").split()


def test_reload_keeps_devices_cursors_and_outbox(desk: Desk, pair: tuple[Device, Device]) -> None:
    """A reloaded page is the same devices: nothing is sent twice, nothing is forgotten."""
    alice, bob = pair
    alice.say("before the reload")
    bob.shows("before the reload")
    bob.switch()
    bob.say("kept over the reload")
    eventually(desk.chrome, lambda: bob.ticks("kept over the reload"), "waiting")
    desk.chrome.refresh()
    eventually(desk.chrome, lambda: [one.key for one in desk.devices], [alice.key, bob.key])
    eventually(desk.chrome, lambda: [alice.phase, bob.phase], ["open", "closed"])
    bob.shows("before the reload", "kept over the reload")
    bob.switch()
    alice.shows("before the reload", "kept over the reload")
    bob.shows("before the reload", "kept over the reload")


def test_killed_tab_loses_nothing_that_was_asked_for(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """The renderer dies without a word to the page; the next visit sends what waited."""
    alice, bob = pair
    bob.switch()
    bob.say("survives a crash")
    eventually(desk.chrome, lambda: bob.ticks("survives a crash"), "waiting")
    tab = desk.chrome.current_window_handle
    desk.chrome.switch_to.new_window("tab")
    kill_renderer(desk.chrome, tab)
    desk.chrome.get(desk.address)
    eventually(desk.chrome, lambda: [alice.phase, bob.phase], ["open", "closed"])
    bob.switch()
    alice.shows("survives a crash")


def kill_renderer(chrome: Chrome, tab: str) -> None:
    """Crash the page in a tab, and close what is left of it."""
    here = chrome.current_window_handle
    chrome.switch_to.window(tab)
    for fatal in (lambda: chrome.execute_cdp_cmd("Page.crash", {}), chrome.close):
        try:
            fatal()
        except (WebDriverException, InvalidSessionIdException):
            continue  # there is no page to answer any more
    chrome.switch_to.window(here)


def test_revoked_device_says_so_and_stays_away(desk: Desk, pair: tuple[Device, Device]) -> None:
    """Another device of the user revokes it; it tells why, and does not try to come back."""
    phone = desk.add("bob")
    desk.chrome.execute_script(REVOKE, phone.key, pair[1].key)
    eventually(desk.chrome, lambda: phone.phase, "stopped")
    reason = "This device was revoked; log in and register it again."
    eventually(desk.chrome, lambda: phone.texts(".notice"), [reason])
    phone.log_out()
    eventually(desk.chrome, lambda: len(desk.devices), 2)


@pytest.mark.slow
def test_wrong_password_is_told_in_the_log_in_form_and_a_right_one_adds_a_device(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """The way in where there are no demo users."""
    chrome = desk.chrome
    chrome.find_element(By.CSS_SELECTOR, ".top [data-login]").click()
    form = chrome.find_element(By.CSS_SELECTOR, "#login form")
    form.find_element(By.NAME, "username").send_keys("bob")
    form.find_element(By.NAME, "password").send_keys("wrong", Keys.ENTER)
    problem = form.find_element(By.CSS_SELECTOR, ".problem")
    eventually(chrome, lambda: problem.text, "The user name or the password is wrong.")
    form.find_element(By.NAME, "password").send_keys(*SELECT_ALL, "lockstep", Keys.ENTER)
    desk.all_live(3)
    assert desk.devices[-1].texts(".device") == ["Browser"]


def test_conversation_is_opened_by_a_part_of_a_name(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Where nobody has talked yet, this is how it starts; an existing conversation is found again."""
    alice, _ = pair
    alice.find(".list li:not(:has([aria-current])) button").click()
    eventually(desk.chrome, lambda: alice.texts(SELECTED), ["Notes to self"])
    alice.find(".start").click()
    dialog = desk.chrome.find_element(By.ID, "talk")
    dialog.find_element(By.NAME, "search").send_keys("BO")
    eventually(desk.chrome, lambda: dialog.find_element(By.CSS_SELECTOR, ".found").text, "bob")
    dialog.find_element(By.CSS_SELECTOR, ".found button").click()
    eventually(desk.chrome, lambda: alice.texts(SELECTED), ["bob"])
    assert not dialog.is_displayed()


def test_every_control_has_a_name(desk: Desk, pair: tuple[Device, Device]) -> None:
    """A screen reader can say what each button, switch and field is for."""
    alice, bob = pair
    alice.say("hello")
    bob.shows("hello")
    controls = desk.chrome.find_elements(
        By.CSS_SELECTOR, "main button, main input, main textarea, .top button"
    )
    nameless = [
        one.get_attribute("outerHTML")
        for one in controls
        if one.is_displayed() and not one.accessible_name
    ]
    assert nameless == []
    assert "bob" in bob.card.accessible_name
    assert bob.find(".thread").aria_role == "log"


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_page_fits_the_window(desk: Desk, pair: tuple[Device, Device], width: int) -> None:
    """Nothing sticks out sideways, from a phone to a desktop."""
    alice, _ = pair
    alice.say("a-very-long-word-" * 12)
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    desk.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        measure = "return [innerWidth, document.documentElement.scrollWidth <= innerWidth]"
        eventually(desk.chrome, lambda: desk.chrome.execute_script(measure), [width, True])
    finally:
        desk.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_page_keeps_its_own_policy_and_says_nothing_on_the_console(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """No inline script or style, no file that is missing, no error."""
    console(desk.chrome)
    desk.chrome.refresh()
    alice, bob = desk.pair()
    alice.say("quiet")
    bob.shows("quiet")
    alice.use("quiet", ".delete")
    bob.shows("This message was deleted")
    assert console(desk.chrome) == []


def console(chrome: Chrome) -> list[str]:
    """What the page has said on the console since the last look."""
    lines = chrome.execute(Command.GET_LOG, {"type": "browser"})["value"]
    return [line["message"] for line in lines]
