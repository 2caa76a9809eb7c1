"""Files on the page: chosen, dropped, pasted; uploaded whatever comes between; in real Chromium."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from perf.faults.proxy import Proxy, Rule
from project import services
from tests.acceptance.page import Desk, Device, eventually
from tests.acceptance.site import Serving

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PLAN = b"the plan " * 1000
SLOW = 200_000  # bytes/s: a megabyte takes five seconds
BRING = """
    const [card, way, name, size] = arguments;
    const [type, target] = way === "drop" ? [DragEvent, card] : [ClipboardEvent, card.querySelector("textarea")];
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(size)], name));
    const about = { bubbles: true, cancelable: true, dataTransfer: files, clipboardData: files };
    return !target.dispatchEvent(new type(way, about));
"""
PAINTED = """
    const canvas = arguments[0].querySelector("canvas");
    return [...canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data];
"""
WAITING = """
    INSERT INTO messaging_attachment (device_id, name, size, type, sha256, file)
    SELECT d.id, 'waits', 1, 'text/plain', repeat('0', 64), 'none'
      FROM generate_series(1, 100), presence_device d JOIN presence_user u ON u.id = d.user_id
     WHERE u.username = 'alice' AND d.id = (SELECT max(id::text)::uuid FROM presence_device WHERE user_id = u.id)
"""


def picture(path: Path, shade: int, *, width: int = 300, height: int = 200) -> Path:
    """A PNG of one shade of grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([shade]) * width) * height, level=1)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.fixture
def sql(site: Serving) -> Iterator[psycopg.Connection[Any]]:
    """The site's database."""
    url = services.locate(site.directory).database_url
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A file to be sent."""
    path = tmp_path / "plan.txt"
    path.write_bytes(PLAN)
    return path


def states(device: Device) -> list[str]:
    """How far each file is that is to be sent."""
    script = "return [...arguments[0].querySelectorAll('.item')].map((one) => one.dataset.state)"
    found: list[str] = device.chrome.execute_script(script, device.card)
    return found


def files(device: Device) -> list[str]:
    """The files of the newest message."""
    script = "return [...[...arguments[0].querySelectorAll('.message')].at(-1).querySelectorAll('.file')].map((one) => one.textContent)"
    found: list[str] = device.chrome.execute_script(script, device.card)
    return found


def test_files_go_out_with_the_text_and_are_shown_on_the_other_device(
    desk: Desk, pair: tuple[Device, Device], tmp_path: Path
) -> None:
    """However they were brought; images as pictures, unless they would take hundreds of megabytes."""
    alice, bob = pair
    grey = picture(tmp_path / "grey.png", 0x90)
    huge = picture(tmp_path / "huge.png", 0x90, width=5001, height=5000)
    alice.attach(grey, huge)
    for way, size in (("drop", 1500), ("paste", 0)):
        assert desk.chrome.execute_script(BRING, alice.card, way, f"by {way}.bin", size)
    eventually(desk.chrome, lambda: states(alice), ["there"] * 4)
    alice.say("look at these")
    shown = [
        f"grey.png · {grey.stat().st_size} bytes",
        f"huge.png · {huge.stat().st_size / 1000:.1f} kB",
        "by drop.bin · 1.5 kB",
        "by paste.bin · 0 bytes",
    ]
    alice.shows("look at these")
    bob.shows("look at these")
    eventually(desk.chrome, lambda: [files(alice), files(bob)], [shown, shown])
    eventually(
        desk.chrome,
        lambda: desk.chrome.execute_script(PAINTED, bob.find(".picture")),
        [0x90, 0x90, 0x90, 255],
    )
    kinds = [one.get_attribute("class") for one in bob.card.find_elements(By.CSS_SELECTOR, ".file")]
    assert kinds[-4:] == ["file picture", "file", "file", "file"]
    assert (states(alice), alice.draft) == ([], "")


@pytest.mark.long
def test_file_that_is_too_large_is_told_before_it_is_uploaded_and_holds_up_what_it_goes_with(
    desk: Desk, pair: tuple[Device, Device], plan: Path
) -> None:
    """Until it is removed; then the rest goes out."""
    alice, bob = pair
    alice.attach(plan)
    desk.chrome.execute_script(BRING, alice.card, "drop", "film.mov", 26_214_401)
    too_large = (
        "film.mov has 26.2 MB and a file at most 26.2 MB; split it, or share it in another way."
    )
    eventually(desk.chrome, lambda: alice.texts(".why"), ["", too_large])
    assert not alice.card.find_elements(By.CSS_SELECTOR, ".again")[1].is_displayed()
    alice.say("both")
    alice.tells("Nothing was sent: remove film.mov, or try it again.")
    assert alice.draft == "both"
    alice.card.find_elements(By.CSS_SELECTOR, ".drop")[1].click()
    alice.write(Keys.ENTER)
    bob.shows("both")
    assert files(bob) == ["plan.txt · 9 kB"]


@pytest.mark.long
async def test_upload_that_is_cut_in_its_middle_goes_again_and_its_message_is_posted_once(
    own_chromium: Chrome, site: Serving, sql: psycopg.Connection[Any], plan: Path
) -> None:
    """By itself, as soon as the line is back."""
    proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", site.port))
    async with proxy.serving():
        desk = Desk(own_chromium, f"http://127.0.0.1:{proxy.port}/")
        alice, bob = await asyncio.to_thread(desk.open)
        proxy.impose({"up": Rule(bytes_per_s=SLOW)})
        await asyncio.to_thread(begin, alice, plan)
        proxy.cut(reset=True)
        lost = "plan.txt was not taken. The server can't be reached; look at the network and try again."
        await asyncio.to_thread(eventually, own_chromium, lambda: alice.texts(".why"), [lost])
        assert alice.draft == "patience"
        proxy.heal()
        await asyncio.to_thread(bob.shows, "patience")
        assert await asyncio.to_thread(files, bob) == ["plan.txt · 1 MB"]
        assert (states(alice), alice.draft) == ([], "")
        own_chromium.get("about:blank")
    count = sql.execute("SELECT count(*) FROM messaging_message WHERE body = 'patience'")
    assert count.fetchall() == [(1,)]


def begin(device: Device, path: Path) -> None:
    """Send a file, and see it on its way."""
    path.write_bytes(bytes(1_000_000))
    device.attach(path)
    device.say("patience")
    doing = "Goes out when its files are uploaded"
    eventually(device.chrome, lambda: device.find(".doing span").text, doing)
    progress = device.find("progress")
    eventually(device.chrome, lambda: float(progress.get_property("value")) > 0, True)  # type: ignore[arg-type]


@pytest.mark.long
def test_message_waits_for_its_files_while_its_device_is_cut_off_or_the_storage_is_away(
    desk: Desk, pair: tuple[Device, Device], site: Serving, plan: Path
) -> None:
    """It goes out by itself when both are back, also if the user has turned to somebody else."""
    alice, bob = pair
    alice.switch()
    eventually(desk.chrome, lambda: alice.phase, "closed")
    alice.attach(plan)
    alice.say("later")
    assert states(alice) == ["waiting"]
    contents = site.directory / "files"
    contents.rename(away := site.directory / "away")
    contents.write_text("no directory")
    try:
        alice.switch()
        down = "plan.txt was not taken. The storage of files does not work now; try again later, or ask who runs this server."
        eventually(desk.chrome, lambda: alice.texts(".why"), [down])
        assert alice.draft == "later"
        alice.choose("Notes to self")
        assert (states(alice), alice.draft) == ([], "")
    finally:
        contents.unlink()
        away.rename(contents)
    bob.shows("later")
    assert files(bob) == ["plan.txt · 9 kB"]
    alice.choose("bob")
    eventually(desk.chrome, lambda: (states(alice), alice.draft), ([], ""))


@pytest.mark.long
def test_refused_upload_is_told_and_goes_when_it_is_tried_again(
    desk: Desk, pair: tuple[Device, Device], sql: psycopg.Connection[Any], plan: Path
) -> None:
    """Its message stays in the field meanwhile."""
    alice, bob = pair
    sql.execute(WAITING)
    alice.attach(plan)
    alice.say("once more")
    full = "plan.txt was not taken. You have 100 uploads that no message has taken; send them, or wait until they go."
    eventually(desk.chrome, lambda: alice.texts(".why"), [full])
    alice.tells("Nothing was sent: remove plan.txt, or try it again.")
    sql.execute("DELETE FROM messaging_attachment WHERE name = 'waits'")
    alice.find(".again").click()
    eventually(desk.chrome, lambda: states(alice), ["there"])
    assert (alice.draft, alice.texts(".why")) == ("once more", [""])
    alice.write(Keys.ENTER)
    bob.shows("once more")


@pytest.mark.long
def test_message_whose_file_was_cleaned_away_comes_back_with_the_file(
    desk: Desk, pair: tuple[Device, Device], sql: psycopg.Connection[Any], plan: Path
) -> None:
    """It waited for longer than an upload is kept: the file goes up anew, and the user sends it again."""
    alice, bob = pair
    alice.attach(plan)
    eventually(desk.chrome, lambda: states(alice), ["there"])
    alice.switch()
    eventually(desk.chrome, lambda: alice.phase, "closed")
    alice.say("long in a tunnel")
    eventually(desk.chrome, lambda: files(alice), ["plan.txt · 9 kB"])
    sql.execute("DELETE FROM messaging_attachment WHERE message_id IS NULL AND name = 'plan.txt'")
    alice.switch()
    eventually(desk.chrome, lambda: alice.draft, "long in a tunnel")
    eventually(desk.chrome, lambda: states(alice), ["there"])
    alice.write(Keys.ENTER)
    bob.shows("long in a tunnel")
    assert files(bob) == ["plan.txt · 9 kB"]


@pytest.mark.long
def test_file_that_is_gone_from_the_disk_is_told_so_and_not_for_ever_tried_again(
    desk: Desk, pair: tuple[Device, Device], plan: Path
) -> None:
    """The browser says of it what it says without a network."""
    alice, _ = pair
    alice.switch()
    alice.attach(plan)
    plan.unlink()
    alice.switch()
    gone = "plan.txt can't be read: it was changed or removed since, or is a folder; choose a file again."
    eventually(desk.chrome, lambda: (states(alice), alice.texts(".why")), (["refused"], [gone]))
    alice.find(".drop").click()
    assert states(alice) == []
