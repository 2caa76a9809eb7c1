"""The page at `/` as a driver of Chromium sees it: a desk with devices side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

SELECTED = "[aria-current] .title"
CHOOSE = """
    const titles = [...arguments[0].querySelectorAll(".list .title")];
    titles.find(({ textContent }) => textContent === arguments[1]).closest("button").click();
"""
SELECT_ALL = (Keys.CONTROL, "a", Keys.NULL)
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
        assert seen[0] == expected, f"it shows {seen[0]!r}, not {expected!r}"


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

    def delete(self, body: str) -> None:
        """Press the button of a message, and yes when it asks."""
        self.use(body, ".delete")
        self.message(body).find_element(By.CSS_SELECTOR, ".yes").click()

    def attach(self, *files: Path) -> None:
        """Choose files of this computer."""
        self.find(".chooser").send_keys("\n".join(map(str, files)))

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

    def tells(self, sentence: str) -> None:
        """Wait until the line for what is wrong says this, and nothing else."""
        eventually(self.chrome, lambda: self.texts(".notice"), [sentence])

    @property
    def draft(self) -> str:
        """What is in the field."""
        return str(self.find("textarea").get_property("value"))

    def choose(self, title: str) -> None:
        """Turn to another conversation."""
        # In one step: the strip is drawn anew with each change of what it shows.
        self.chrome.execute_script(CHOOSE, self.card, title)
        eventually(self.chrome, lambda: self.texts(SELECTED), [title])


class Sheet:
    """A dialog of the page."""

    def __init__(self, chrome: Chrome, name: str) -> None:
        self.element = chrome.find_element(By.ID, name)

    def find(self, selector: str) -> WebElement:
        return self.element.find_element(By.CSS_SELECTOR, selector)

    def field(self, name: str) -> WebElement:
        return self.element.find_element(By.NAME, name)

    @property
    def problem(self) -> str:
        return self.find(".problem").text

    def close(self) -> None:
        self.find("[data-close]").click()


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
        # From a picture: the page itself would keep what it had begun to set up.
        self.chrome.get(f"{self.address}static/messaging/icon.svg")
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

    def put_away(self, *devices: Device) -> None:
        """Log devices out, one by one."""
        for device in devices:
            count = len(self.devices)
            device.log_out()
            eventually(self.chrome, lambda: len(self.devices), count - 1)

    def tidy(self) -> tuple[Device, Device]:
        """After whatever a test did: the first two devices, connected, everything read, Alice's in use."""
        for device in self.devices:
            if device.phase == "closed":
                device.switch()
        self.all_live(len(self.devices))
        if others := self.devices[2:]:
            self.put_away(*others)
            self.all_live(2)
            self.chrome.refresh()  # ticks wait for a device that is gone until the page asks who is there
        alice, bob = self.pair()
        bob.look()
        alice.look()
        eventually(self.chrome, lambda: [alice.unread, bob.unread], ["", ""])
        return alice, bob
