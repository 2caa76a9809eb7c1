"""The page's devices: cut off, reloaded, crashed, revoked, logged in; in real Chromium."""

from __future__ import annotations

import pytest
from selenium.common.exceptions import InvalidSessionIdException, WebDriverException
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from tests.acceptance.page import SELECT_ALL, Desk, Device, Sheet, eventually

pytestmark = [pytest.mark.browser, pytest.mark.slow]

REVOKE = """
    const [gone, other, done] = arguments;
    const [revoked, by] = [gone, other].map((key) => JSON.parse(localStorage["lockstep.devices"]).find((one) => one.key === key));
    const { device } = JSON.parse(localStorage[`lockstep:${revoked.key}:session`]);
    fetch(`/api/devices/${device}`, { method: "DELETE", headers: { Authorization: `Bearer ${by.token}` } })
        .then(({ status }) => done(status));
"""


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
    phone.write("not sent yet")
    desk.chrome.execute_async_script(REVOKE, phone.key, pair[1].key)
    eventually(desk.chrome, lambda: phone.phase, "stopped")
    phone.tells(
        "This device was revoked; log in and register a new one, with another installation."
    )
    field = phone.find("textarea")
    assert (phone.draft, field.is_displayed()) == ("not sent yet", True), "it can be copied"
    eventually(desk.chrome, lambda: field.get_property("readOnly"), True)
    desk.put_away(phone)
    assert phone.key not in desk.chrome.execute_script("return JSON.stringify(sessionStorage)")


@pytest.mark.long
def test_device_that_was_revoked_while_it_was_cut_off_can_be_logged_out(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """That the server does not know it any more is what was wished for."""
    phone = desk.add("bob")
    phone.switch()
    eventually(desk.chrome, lambda: phone.phase, "closed")
    assert desk.chrome.execute_async_script(REVOKE, phone.key, pair[1].key) == 200
    desk.put_away(phone)


@pytest.mark.long
def test_double_click_on_the_log_out_button_only_asks(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """With the device would go what waits in it."""
    phone = desk.add("bob")
    ActionChains(desk.chrome).double_click(phone.find(".logout")).perform()
    assert phone.texts(".logout span") == ["Log out?"]
    phone.find(".logout").click()
    eventually(desk.chrome, lambda: len(desk.devices), 2)


@pytest.mark.long
def test_device_that_is_logged_out_twice_takes_no_other_with_it(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """A key that is held, or a second press while the server takes its time."""
    alice, _ = pair
    phone, tablet = desk.add("alice"), desk.add("bob")
    phone.find(".logout").click()
    desk.chrome.execute_script(
        "for (const _ of [1, 2]) arguments[0].click()", phone.find(".logout")
    )
    eventually(desk.chrome, lambda: len(desk.devices), 3)
    tablet.switch()
    alice.say("unheard")
    eventually(desk.chrome, lambda: "1 behind" in tablet.texts(".counter")[0], True)
    tablet.switch()
    tablet.shows("unheard")


def test_wrong_password_is_told_in_the_log_in_form_and_a_right_one_adds_a_device(
    desk: Desk, pair: tuple[Device, Device]
) -> None:
    """The way in where there are no demo users."""
    chrome = desk.chrome
    chrome.find_element(By.CSS_SELECTOR, ".top [data-login]").click()
    form = Sheet(chrome, "login")
    form.field("username").send_keys("bob")
    form.field("password").send_keys("wrong", Keys.ENTER)
    eventually(chrome, lambda: form.problem, "The user name or the password is wrong.")
    form.field("password").send_keys(*SELECT_ALL, "lockstep", Keys.ENTER, Keys.ENTER)
    desk.all_live(3)  # not four: the second time was an accident
    assert desk.devices[-1].texts(".device") == ["Browser"]
