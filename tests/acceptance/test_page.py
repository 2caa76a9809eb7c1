"""The page at `/`: two users talk side by side, with mouse and keyboard in real Chromium."""

from __future__ import annotations

import pytest
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command

from tests.acceptance.page import SELECT_ALL, SELECTED, Desk, Device, Sheet, eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Each drawing is asked for by a timer.
COUNT_DRAWINGS = """
    const done = arguments[0], plain = window.setTimeout;
    let count = 0;
    window.setTimeout = (...given) => (count++, plain(...given));
    plain(() => done(((window.setTimeout = plain), count)), 500);
"""
FIELD_SIZES = """
    const fields = document.querySelectorAll("textarea, select, input:not([type=checkbox], [type=file])");
    return [...fields].map((field) => [field.name, parseFloat(getComputedStyle(field).fontSize)]);
"""
# A slow line: who has a message is answered when the test says so.
HOLD = """
    window.held = [], window.plain = window.fetch;
    window.fetch = async (url, ...more) => {
        const answer = await window.plain(url, ...more);
        if (url.endsWith("/receipts")) await new Promise((go) => window.held.push(go));
        return answer;
    };
"""
ANSWER = """
    const [held, done] = arguments;
    window.held[held]();
    window.plain(location).then((later) => later.text()).then(done);
"""
# Each script and sheet of the page, and how many bytes came: none if the browser did not ask.
TAKEN = r"""
    const files = performance.getEntriesByType("resource").filter(({ name }) => /\.(js|css)$/.test(name));
    return files.map(({ name, transferSize }) => [name, transferSize]);
"""


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


def test_first_click_on_a_conversation_of_a_card_not_in_use_counts(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Pressing reads what the card shows, which changes the strip under the mouse."""
    alice, bob = pair
    alice.say("unread")
    eventually(desk.chrome, lambda: bob.unread, "1")
    notes = bob.texts(".list .title").index("Notes to self")
    pressed = bob.card.find_elements(By.CSS_SELECTOR, ".list .title")[notes]
    ActionChains(desk.chrome).click_and_hold(pressed).perform()
    eventually(desk.chrome, lambda: bob.unread, "")
    ActionChains(desk.chrome).release().perform()
    eventually(desk.chrome, lambda: bob.texts(SELECTED), ["Notes to self"])
    bob.choose("alice")


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


def test_late_receipts_open_nothing_and_are_those_of_the_message_asked_about(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """On a slow line the user has gone on: the box would take the keys, or say of one message what is true of another."""
    alice, bob = pair
    chrome = desk.chrome
    alice.say("with bob")
    eventually(chrome, lambda: alice.ticks("with bob"), "delivered")
    bob.switch()
    alice.say("on its way")
    eventually(chrome, lambda: alice.ticks("on its way"), "stored")
    box = chrome.find_element(By.ID, "receipts")
    chrome.execute_script(HOLD)

    def ask(body: str, held: int) -> None:
        alice.find("textarea").click()  # not below the tools of another message
        alice.message(body).find_element(By.CSS_SELECTOR, ".ticks").click()
        eventually(chrome, lambda: chrome.execute_script("return window.held.length"), held)

    try:
        ask("with bob", 1)
        ask("on its way", 2)
        for first in (1, 0):
            chrome.execute_async_script(ANSWER, first)
            assert box.text.split("\n")[0] == "delivered to 0 of 1 device, read by 0"
        ask("with bob", 3)
        alice.find("textarea").click()
        chrome.execute_async_script(ANSWER, 2)
        ActionChains(chrome).send_keys("goes on").perform()
        assert (alice.draft, box.is_displayed()) == ("goes on", False)
    finally:
        chrome.execute_script("window.fetch = window.plain")
    alice.write(*SELECT_ALL, Keys.BACKSPACE)


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
    alice.delete("third")
    bob.shows("first", "second", "This message was deleted")
    alice.shows("first", "second", "This message was deleted")
    newest = alice.card.find_elements(By.CSS_SELECTOR, ".message")[-1]
    assert desk.chrome.switch_to.active_element == newest, "whose button is gone stays there"


def test_deletion_is_asked_for_and_can_be_thought_better_of_by_key(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """The key that asked does not answer, and who turns away has not said yes."""
    alice, bob = pair
    alice.say("stays")
    bob.shows("stays")

    def asked() -> tuple[bool, str]:
        asking = message.find_element(By.CSS_SELECTOR, ".asking")
        active = desk.chrome.switch_to.active_element
        return not asking.get_property("hidden"), active.accessible_name

    message = alice.message("stays")
    message.find_element(By.CSS_SELECTOR, ".delete").send_keys(Keys.ENTER)
    assert asked() == (True, "Keep")
    desk.chrome.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert asked() == (False, "Delete…")
    desk.chrome.switch_to.active_element.send_keys(Keys.ENTER)
    alice.find("textarea").click()
    assert asked() == (False, "Message")
    message.find_element(By.CSS_SELECTOR, ".delete").send_keys(Keys.ENTER)
    desk.chrome.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB, Keys.NULL)
    assert asked() == (True, "Delete")
    assert bob.texts()[-1] == "stays"
    desk.chrome.switch_to.active_element.send_keys(Keys.ENTER)
    bob.shows("This message was deleted")


def test_arrow_up_edits_the_newest_own_message_and_escape_lets_it_be(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Everything can be done from the keyboard."""
    alice, bob = pair
    alice.say("mistkae")
    bob.shows("mistkae")
    alice.write(Keys.ARROW_UP)
    assert alice.draft == "mistkae"
    alice.write(Keys.ESCAPE)
    assert alice.draft == ""
    alice.write(Keys.ARROW_UP, *SELECT_ALL, "mistake", Keys.ENTER)
    bob.shows("mistake")


def test_keys_go_past_a_thread_and_through_it(desk: Desk, pair: tuple[Device, Device]) -> None:
    """Tab passes by the buttons of hundreds of messages; the arrows reach each of them."""
    alice, bob = pair
    for body in ("older", "newer"):
        alice.say(body)
    bob.shows("older", "newer")
    alice.find(".start").send_keys(Keys.TAB)
    thread = desk.chrome.switch_to.active_element
    assert thread == alice.find(".thread")
    thread.send_keys(Keys.TAB)
    if alice.find(".earlier").is_displayed():
        desk.chrome.switch_to.active_element.send_keys(Keys.TAB)
    assert desk.chrome.switch_to.active_element == alice.find("textarea")
    thread.send_keys(Keys.ARROW_UP, Keys.ARROW_UP)
    assert desk.chrome.switch_to.active_element == alice.message("older")
    keys = (Keys.TAB, Keys.TAB, Keys.ENTER)  # the ticks, then the first tool
    desk.chrome.switch_to.active_element.send_keys(*keys)
    assert alice.draft == "older"
    alice.write(Keys.ESCAPE)


def test_others_messages_offer_no_tools(desk: Desk, pair: tuple[Device, Device]) -> None:
    """What the server would refuse is not offered."""
    alice, bob = pair
    alice.say("mine")
    bob.shows("mine")
    tools = bob.message("mine").find_element(By.CSS_SELECTOR, ".tools")
    assert tools.get_property("hidden")


def test_conversation_is_opened_by_a_part_of_a_name(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Where nobody has talked yet, this is how it starts; an existing conversation is found again."""
    alice, _ = pair
    alice.choose("Notes to self")
    alice.find(".start").click()
    dialog = Sheet(desk.chrome, "talk")
    dialog.field("search").send_keys("BO")
    eventually(desk.chrome, lambda: dialog.find(".found").text, "bob")
    dialog.field("search").send_keys("no")
    eventually(desk.chrome, lambda: dialog.find(".nobody").text, "Nobody else has such a name.")
    dialog.field("search").send_keys(Keys.BACKSPACE, Keys.BACKSPACE)
    eventually(desk.chrome, lambda: dialog.find(".found").text, "bob")
    dialog.find(".found button").click()
    eventually(desk.chrome, lambda: alice.texts(SELECTED), ["bob"])
    assert not dialog.element.is_displayed()


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


def test_new_messages_are_spoken_and_their_ticks_are_not(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Or each message would be followed by its being delivered, and again by its being read."""
    alice, bob = pair
    alice.look()
    alice.say("spoken")
    bob.shows("spoken")
    live = "return arguments[0].closest('[aria-live]').ariaLive"
    parts = [
        alice.message("spoken").find_element(By.CSS_SELECTOR, one) for one in (".body", ".ticks")
    ]
    assert [desk.chrome.execute_script(live, one) for one in parts] == ["polite", "off"]
    alice.choose("Notes to self")
    alice.choose("bob")
    alice.shows("spoken")
    alice.say("news")
    alice.shows("spoken", "news")
    bodies = [
        alice.message(one).find_element(By.CSS_SELECTOR, ".body") for one in ("spoken", "news")
    ]
    assert [desk.chrome.execute_script(live, one) for one in bodies] == ["off", "polite"], (
        "of a conversation that is turned to, all would be read"
    )


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


def test_no_field_is_so_small_that_a_phone_zooms_into_it(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """iOS does so below 16 px, and stays there: the rest of the page is beside the screen then."""
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    desk.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        sizes = desk.chrome.execute_script(FIELD_SIZES)
        assert len(sizes) >= 7
        assert [(name, size) for name, size in sizes if size < 16] == []
    finally:
        desk.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_switch_and_dots_are_seen_in_high_contrast(desk: Desk, pair: tuple[Device, Device]) -> None:
    """Where the system chooses the colours a background of ours is that of what is behind it."""
    alice, _ = pair
    eventually(desk.chrome, lambda: alice.find(".avatar .dot").accessible_name, "online")
    forced = {"features": [{"name": "forced-colors", "value": "active"}]}
    desk.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", forced)
    try:
        colours = [
            desk.chrome.execute_script(
                "return getComputedStyle(arguments[0]).backgroundColor", alice.find(part)
            )
            for part in (".track", ".avatar .dot")
        ]
    finally:
        desk.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert not {"rgb(0, 0, 0)", "rgb(255, 255, 255)"} & set(colours), colours


def test_page_at_rest_draws_nothing(desk: Desk, pair: tuple[Device, Device]) -> None:
    """What was drawn and read causes no drawing, or there would be a hundred in half a second."""
    eventually(desk.chrome, lambda: desk.chrome.execute_async_script(COUNT_DRAWINGS) < 3, True)


def test_page_keeps_its_own_policy_and_says_nothing_on_the_console(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """No inline script or style, no file that is missing, no error."""
    console(desk.chrome)
    desk.chrome.refresh()
    alice, bob = desk.pair()
    alice.say("quiet")
    bob.shows("quiet")
    alice.delete("quiet")
    bob.shows("This message was deleted")
    assert console(desk.chrome) == []


def test_browser_asks_whether_each_file_of_the_page_is_the_newest(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """Left to itself it keeps one for a tenth of its age: after an upgrade half of the page would be old, for days."""
    desk.chrome.refresh()
    desk.pair()
    taken = desk.chrome.execute_script(TAKEN)
    assert len(taken) > 20
    assert [name for name, size in taken if not size] == []


def console(chrome: Chrome) -> list[str]:
    """What the page has said on the console since the last look."""
    lines = chrome.execute(Command.GET_LOG, {"type": "browser"})["value"]
    return [line["message"] for line in lines]
