"""The page in a tab that is open for days: nobody there, lost lines, thousands of messages; in real Chromium."""

from __future__ import annotations

import pytest
from selenium.webdriver import Keys

from messaging.client import Client
from tests.acceptance.page import Desk, Device, eventually
from tests.acceptance.site import Serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# A clock that can be moved on, with the timers that are due then.
LEAVE = """
    const { now } = performance, plain = setTimeout, late = [];
    let gone = 0;
    performance.now = () => now.call(performance) + gone;
    window.setTimeout = (work, ms, ...given) => plain(work, ms, ...given) + (ms > 200_000 && late.push(work) && 0);
    window.leave = (ms) => { gone += ms; for (const work of late.splice(0)) work(); };
"""


async def test_what_comes_to_a_page_that_nobody_touches_is_not_read(
    desk: Desk, pair: tuple[Device, Device], site: Serving
) -> None:
    """It is shown and delivered; whoever comes back finds it unread."""
    alice, _ = pair
    chrome = desk.chrome
    talk = chrome.execute_script("return JSON.parse(localStorage['lockstep.devices'])[0].selected")
    chrome.execute_cdp_cmd("Page.enable", {})
    script = chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LEAVE})
    chrome.refresh()
    desk.pair()
    alice.look()
    try:
        chrome.execute_script("window.leave(300_001)")
        async with await Client.log_in(site.address, username="bob", password="lockstep") as other:
            other.send(talk, "are you there?")
            await other.settled()
        alice.shows("are you there?")
        eventually(chrome, lambda: alice.unread, "1")
        alice.write(Keys.SHIFT)
        eventually(chrome, lambda: alice.unread, "")
    finally:
        chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        chrome.refresh()
