"""The page in a tab that is open for days: nobody there, lost lines, thousands of messages; in real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from selenium.webdriver import Keys

from messaging.client import Client
from project import services
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
HISTORY = """
    INSERT INTO messaging_message (conversation_id, body)
    SELECT id, 'old ' || n FROM messaging_conversation, generate_series(1, %s) n WHERE kind = 'direct'
"""
NOTE = """
    INSERT INTO messaging_message (conversation_id, body, created)
    SELECT c.id, %s, %s FROM messaging_conversation c JOIN messaging_membership s ON s.conversation_id = c.id
      JOIN presence_user u ON u.id = s.user_id WHERE c.kind = 'self' AND u.username = 'alice'
"""
PURGE = """
    SET lockstep.purge = on;
    WITH gone AS (DELETE FROM messaging_message WHERE deleted IS NOT NULL RETURNING conversation_id, seq)
    UPDATE messaging_conversation c SET purged_seq = (SELECT max(seq) FROM gone WHERE conversation_id = c.id)
     WHERE id IN (SELECT conversation_id FROM gone)
"""
# What the server answered to who asked for receipts.
RECEIPTS = "return performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/receipts')).map((one) => one.responseStatus)"
# A slow line: a page of history is there when the test says so.
HOLD = """
    window.held = null, window.plain = window.fetch;
    window.fetch = async (url, ...more) => {
        const answer = await window.plain(url, ...more);
        if (url.includes("/messages?")) await new Promise((go) => (window.held = go));
        return answer;
    };
"""
# How far a thread's end is below what is on screen.
BELOW = "const [{ scrollHeight, scrollTop, clientHeight }] = arguments; return Math.round(scrollHeight - scrollTop - clientHeight)"
# How often the conversations were asked for: what else the screen needs is, once they are known.
LOADED = "return performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/conversations')).length"
# The browser tells of a scroll by a script a frame later, of a user's at once: until then the page would go to the end again.
TOP = "arguments[0].scrollTop = 0; arguments[0].dispatchEvent(new Event('scroll'));"


@pytest.fixture
def sql(site: Serving) -> Iterator[psycopg.Connection[Any]]:
    """The site's database."""
    url = services.locate(site.directory).database_url
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


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


def test_line_that_is_lost_again_and_again_loads_no_more_history(
    desk: Desk, pair: tuple[Device, Device], sql: psycopg.Connection[Any]
) -> None:
    """A page of it was taken with each new connection, of each device, for ever."""
    alice, bob = pair
    sql.execute(HISTORY, [600])
    alice.shows("old 600")
    desk.chrome.refresh()
    desk.pair()
    alice.say("as many")
    bob.shows("as many")
    before, loaded = len(bob.texts()), desk.chrome.execute_script(LOADED)
    for n in range(3):
        bob.switch()
        eventually(desk.chrome, lambda: bob.phase, "closed")
        bob.switch()
        alice.say(f"lost {n}")
        bob.shows(f"lost {n}")
        eventually(desk.chrome, lambda: desk.chrome.execute_script(LOADED), loaded + n + 1)
    alice.say("drawn once more")
    bob.shows("drawn once more")
    assert len(bob.texts()) == before + 4


def test_long_thread_lets_go_of_what_is_far_above_and_brings_it_back(
    desk: Desk, pair: tuple[Device, Device], sql: psycopg.Connection[Any]
) -> None:
    """Ten thousand messages took seconds to be drawn; no more stay than somebody may look at."""
    alice, bob = pair
    sql.execute(HISTORY, [1000])
    alice.shows("old 999", "old 1000")
    eventually(desk.chrome, lambda: len(alice.texts()) < 400, True)
    eventually(desk.chrome, lambda: bob.unread, "99+")
    alice.look()
    eventually(desk.chrome, lambda: alice.unread, "")
    desk.chrome.execute_script(TOP, alice.find(".thread"))
    before = len(alice.texts())
    for pages in (1, 2):
        alice.find(".earlier").click()
        eventually(desk.chrome, lambda: len(alice.texts()), before + 50 * pages)
    first = 1000 - before - 100 + 1
    assert alice.texts() == [f"old {n}" for n in range(first, 1001)]
    sql.execute(HISTORY, [400])
    eventually(desk.chrome, lambda: alice.texts(".newer"), ["400 new messages"])
    assert alice.texts()[0] == f"old {first}", "whoever reads back keeps what they read"
    alice.find(".newer").click()
    eventually(desk.chrome, lambda: alice.unread, "")


def test_who_scrolls_on_while_history_is_fetched_stays_where_they_are(
    desk: Desk, pair: tuple[Device, Device], sql: psycopg.Connection[Any]
) -> None:
    """On a slow line they were thrown back to where they had asked for it."""
    alice, _ = pair
    chrome, thread = desk.chrome, alice.find(".thread")
    sql.execute(HISTORY, [450])
    alice.shows("old 450")
    eventually(chrome, lambda: alice.find(".earlier").is_displayed(), True)
    chrome.execute_script(TOP, thread)
    before = len(alice.texts())
    chrome.execute_script(HOLD)
    try:
        alice.find(".earlier").click()
        eventually(chrome, lambda: chrome.execute_script("return Boolean(window.held)"), True)
        chrome.execute_script("arguments[0].scrollTop = 400", thread)
        below = chrome.execute_script(BELOW, thread)
        chrome.execute_script("window.held()")
        eventually(chrome, lambda: len(alice.texts()), before + 50)
        assert chrome.execute_script(BELOW, thread) == below
    finally:
        chrome.execute_script("window.fetch = window.plain")


def test_tombstone_that_is_gone_for_real_troubles_nobody_who_still_has_it(
    desk: Desk, pair: tuple[Device, Device], sql: psycopg.Connection[Any]
) -> None:
    """The server knows it no more: whoever asks for its receipts is told so, in red, with each connection."""
    alice, bob = pair
    alice.say("let go")
    bob.shows("let go")
    alice.delete("let go")
    bob.shows("This message was deleted")
    sql.execute(PURGE)
    desk.chrome.refresh()
    desk.pair()
    eventually(desk.chrome, lambda: desk.chrome.execute_script(LOADED) >= 2, True)
    bob.say("and on")
    alice.shows("and on")
    assert set(desk.chrome.execute_script(RECEIPTS)) <= {200}
    alice.tells("")


def test_days_are_told_apart_by_their_year_and_in_any_order(
    desk: Desk, pair: tuple[Device, Device], sql: psycopg.Connection[Any]
) -> None:
    """A 22nd of November is a Sunday every few years; what was imported may be older than what is above it."""
    alice, _ = pair
    alice.choose("Notes to self")
    for n, when in enumerate(("2015-11-22", "2020-11-22", "2015-11-22")):
        sql.execute(NOTE, [f"note {n}", f"{when} 12:00+00"])
    alice.shows("note 0", "note 1", "note 2")
    years = [day[-4:] for day in alice.texts(".day")[-3:]]
    assert years == ["2015", "2020", "2015"]
    alice.say("note 3")
    alice.shows("note 3")
    assert len(alice.texts(".day")[-1].split(", ")) == 2, "today has no year"
    alice.choose("bob")
