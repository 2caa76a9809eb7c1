"""Who is here and who is typing, as the page shows it in real Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By

from messaging.client import Client
from tests import scene
from tests.acceptance.page import SELECT_ALL, Desk, Device, Sheet, eventually
from tests.acceptance.site import Serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DEBOUNCE_S = 2.0  # an absence shorter than this is not shown
IDLE = """
    const [idle, done] = arguments;
    const { origin } = location;
    import(`${origin}/static/messaging/attention.js`).then(({ Attention }) => {
        const attention = new Attention({ idle });
        const states = [attention.state];
        attention.addEventListener("change", () => {
            states.push(attention.state);
            if (states.length >= 3) return done(states);
            document.dispatchEvent(new Event("keydown"));
        });
    });
"""


def dot(device: Device) -> str | None:
    """How the other user of a device's conversation is here, by the dot."""
    return device.find(".about .dot").get_attribute("data-state")


def typing(device: Device) -> str:
    """The typing line."""
    return device.texts(".typing")[0]


def says(device: Device) -> list[str]:
    """The words about the other user, and their status."""
    return [*device.texts(".about .words"), *device.texts(".about .says")]


class Status(Sheet):
    """A user's own status, opened on one of their devices."""

    def __init__(self, desk: Desk, device: Device) -> None:
        super().__init__(desk.chrome, "status")
        self.desk = desk
        device.find(".avatar").click()
        eventually(desk.chrome, self.element.is_displayed, True)

    def write(self, text: str) -> None:
        self.field("text").send_keys(*SELECT_ALL, Keys.BACKSPACE, text)

    def save(self) -> None:
        self.find("[type=submit]").click()
        eventually(self.desk.chrome, self.element.is_displayed, False)

    @property
    def devices(self) -> list[tuple[str, str | None]]:
        """The own devices that are here: name and state."""
        found = [
            (item.text, item.find_element(By.CSS_SELECTOR, ".dot").get_attribute("data-state"))
            for item in self.element.find_elements(By.CSS_SELECTOR, ".devices li")
        ]
        return sorted(one for one in found if one[1] != "offline")


@pytest.fixture
def known(desk: Desk, pair: tuple[Device, Device]) -> Iterator[tuple[Device, Device]]:
    """Both devices see the other's user online; afterwards nobody has a status or a draft."""
    alice, bob = pair
    eventually(desk.chrome, lambda: [dot(alice), dot(bob)], ["online", "online"])
    yield pair
    desk.chrome.execute_script("document.getElementById('status').close()")
    for device in desk.tidy():
        device.write(*SELECT_ALL, Keys.BACKSPACE)
        _clear_status(desk, device)


def _clear_status(desk: Desk, device: Device) -> None:
    if device.texts(".mine") == [""]:
        return
    sheet = Status(desk, device)
    sheet.write("")
    if sheet.field("invisible").is_selected():
        sheet.field("invisible").click()
    sheet.save()
    eventually(desk.chrome, lambda: device.texts(".mine"), [""])


def test_dot_goes_off_two_seconds_after_the_last_device_was_cut_off_and_on_at_once(
    desk: Desk, known: tuple[Device, Device]
) -> None:
    """A short break is not shown; who is gone for good is, with the time they were last seen."""
    alice, bob = known
    cut = time.monotonic()
    bob.switch()
    eventually(desk.chrome, lambda: dot(alice), "offline")
    assert time.monotonic() - cut >= DEBOUNCE_S
    assert says(alice)[0].startswith("last seen at ")
    assert alice.find(".list [aria-current] .dot").get_attribute("data-state") == "offline"
    bob.switch()
    eventually(desk.chrome, lambda: dot(alice), "online")
    assert says(alice)[0] == "online"


def test_device_that_is_cut_off_shows_that_it_can_not_know(
    desk: Desk, known: tuple[Device, Device]
) -> None:
    """What it knew stays, greyed, until it is connected again."""
    _, bob = known
    bob.switch()
    eventually(desk.chrome, lambda: says(bob), ["online, when last heard of", ""])
    assert "stale" in (bob.card.get_attribute("class") or "").split()
    bob.switch()
    eventually(desk.chrome, lambda: says(bob), ["online", ""])
    assert "stale" not in (bob.card.get_attribute("class") or "").split()


def test_typing_shows_until_it_is_sent_or_given_up(
    desk: Desk, known: tuple[Device, Device]
) -> None:
    """On the other's card, not on one's own."""
    alice, bob = known
    alice.write("hel")
    eventually(desk.chrome, lambda: typing(bob), "alice is typing…")
    assert typing(alice) == ""
    alice.write("lo", Keys.ENTER)
    bob.shows("hello")
    eventually(desk.chrome, lambda: typing(bob), "")
    alice.write("no")
    eventually(desk.chrome, lambda: typing(bob), "alice is typing…")
    alice.write(Keys.BACKSPACE, Keys.BACKSPACE)
    eventually(desk.chrome, lambda: typing(bob), "")


@pytest.mark.long
def test_typing_of_a_device_that_is_lost_vanishes_by_itself(
    desk: Desk, known: tuple[Device, Device]
) -> None:
    """Six seconds after it was last heard of."""
    alice, bob = known
    alice.write("never sent")
    eventually(desk.chrome, lambda: typing(bob), "alice is typing…")
    alice.switch()
    eventually(desk.chrome, lambda: typing(bob), "")


def test_status_text_is_seen_by_others_and_on_the_own_devices(
    desk: Desk, known: tuple[Device, Device]
) -> None:
    """It is the user's, whichever device set it."""
    alice, bob = known
    phone = desk.add("bob")
    sheet = Status(desk, bob)
    sheet.write("at lunch")
    sheet.save()
    eventually(desk.chrome, lambda: says(alice), ["online", "at lunch"])
    eventually(desk.chrome, lambda: [*bob.texts(".mine"), *phone.texts(".mine")], ["at lunch"] * 2)


def test_invisible_user_is_offline_to_others_and_says_so_to_themselves(
    desk: Desk, known: tuple[Device, Device]
) -> None:
    """Without a trace of when they were last seen."""
    alice, bob = known
    sheet = Status(desk, bob)
    sheet.write("secret")
    sheet.field("invisible").click()
    sheet.save()
    eventually(desk.chrome, lambda: [dot(alice), *says(alice)], ["offline", "offline", ""])
    eventually(desk.chrome, lambda: bob.texts(".mine"), ["invisible · secret"])
    assert dot(bob) == "online", "who hides still sees"
    sheet = Status(desk, bob)
    assert sheet.field("invisible").is_selected()
    sheet.field("invisible").click()
    sheet.save()
    eventually(desk.chrome, lambda: [dot(alice), *says(alice)], ["online", "online", "secret"])


def test_status_says_only_what_was_changed_in_it(desk: Desk, known: tuple[Device, Device]) -> None:
    """A page that has not heard of the own status yet shows none; whoever hides must not be shown for that."""
    alice, bob = known
    sheet = Status(desk, bob)
    sheet.field("invisible").click()
    sheet.save()
    eventually(desk.chrome, lambda: dot(alice), "offline")
    bob.switch()
    desk.chrome.refresh()
    eventually(desk.chrome, lambda: [alice.phase, bob.phase], ["open", "closed"])
    sheet = Status(desk, bob)
    sheet.write("on a train")
    sheet.save()
    bob.switch()
    eventually(desk.chrome, lambda: bob.texts(".mine"), ["invisible · on a train"])
    assert dot(alice) == "offline"


def test_own_devices_are_listed_with_their_states(desk: Desk, known: tuple[Device, Device]) -> None:
    """By name, and as they change."""
    _, bob = known
    phone = desk.add("bob")
    sheet = Status(desk, bob)
    both = [("Laptop (this one)", "online"), ("Phone", "online")]
    eventually(desk.chrome, lambda: sheet.devices, both)
    desk.chrome.execute_script("arguments[0].querySelector('.switch input').click()", phone.card)
    eventually(desk.chrome, lambda: sheet.devices, both[:1])
    sheet.close()


async def test_page_that_is_hidden_makes_its_devices_away(
    desk: Desk, known: tuple[Device, Device], site: Serving
) -> None:
    """Seen from elsewhere; looking at it again brings them back."""
    client = await Client.log_in(site.address, username="bob", password="lockstep")
    alice = desk.chrome.execute_script(
        'return JSON.parse(localStorage["lockstep.devices"])[0].user'
    )
    async with client:
        await _sees(client, alice, "online")
        page = desk.chrome.current_window_handle
        desk.chrome.switch_to.new_window("tab")
        await _sees(client, alice, "away")
        desk.chrome.close()
        desk.chrome.switch_to.window(page)
        await _sees(client, alice, "online")


async def _sees(client: Client, user: str, state: str) -> None:
    """Wait until a client knows a user in this state."""
    known = client.presence
    await scene.eventually(
        lambda: not client.stale and user in known and known[user].state == state,
        what=lambda: f"{user} {state}; it knows {known}",
    )


async def test_device_elsewhere_that_is_away_is_shown_away(
    desk: Desk, known: tuple[Device, Device], site: Serving
) -> None:
    """And a device that is online wins over one that is away."""
    alice, bob = known
    client = await Client.log_in(site.address, username="bob", password="lockstep")
    async with client:
        await client.set_presence(state="away")
        assert dot(alice) == "online"
        bob.switch()
        eventually(desk.chrome, lambda: [dot(alice), *says(alice)], ["away", "away", ""])


def test_untouched_page_is_away_until_it_is_touched(
    desk: Desk, known: tuple[Device, Device]
) -> None:
    """With an idle time of 50 ms instead of five minutes."""
    states = desk.chrome.execute_async_script(IDLE, 50)
    assert states == ["online", "away", "online"]


def test_presence_can_be_heard(desk: Desk, known: tuple[Device, Device]) -> None:
    """Each dot has a word; only the card in use speaks of typing."""
    alice, bob = known
    alice.look()
    alice.say("hi")
    bob.shows("hi")
    dots = [
        dot for card in (alice, bob) for dot in card.card.find_elements(By.CSS_SELECTOR, ".dot")
    ]
    assert [dot.accessible_name for dot in dots] == ["online"] * len(dots)
    assert len(dots) >= 6
    lines = [card.find(".typing") for card in (alice, bob)]
    assert [line.aria_role for line in lines] == ["status", "status"]
    assert [line.get_attribute("aria-live") for line in lines] == ["polite", "off"]
    assert "Set your status" in alice.find(".avatar").accessible_name
