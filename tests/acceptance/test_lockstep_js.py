"""The browser client keeps every promise of the shared conformance cases, in real Chromium."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

import messaging

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HERE = Path(__file__).parent
APP = Path(messaging.__file__).parent
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted((APP / "protocol" / "conformance").glob("*.json"))
    for case in json.loads(path.read_text())
]

RUN = """
    const [path, argument, answer] = arguments;
    import(path).then(({ run }) => run(JSON.parse(argument))).then(answer, (error) => answer(String(error.stack)));
"""


class Files(SimpleHTTPRequestHandler):
    """The client's modules below /messaging/, the runners beside this file below /tests/."""

    extensions_map = {".js": "text/javascript", ".html": "text/html"}

    def translate_path(self, path: str) -> str:
        """Find a file in one of the two directories."""
        folder = HERE if path.startswith("/tests/") else APP / "static" / "messaging"
        return str(folder / Path(path).name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be quiet."""


@pytest.fixture(scope="module")
def page(own_chromium: Chrome) -> Iterator[Chrome]:
    """A browser on an empty page whose origin has the client's modules."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own_chromium.get(f"http://127.0.0.1:{server.server_port}/messaging/icon.svg")
        yield own_chromium
        server.shutdown()


def test_there_are_cases_to_keep() -> None:
    """An empty directory must not look like success."""
    assert len(CASES) > 20


@pytest.mark.parametrize("case", CASES)
def test_client_keeps_the_conformance_case(page: Chrome, case: dict[str, Any]) -> None:
    """The case's name is the promise."""
    problem = page.execute_async_script(RUN, "/tests/conformance.js", json.dumps(case))
    assert problem is None, f"{case['name']}: {problem}"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"expect": [{"type": "ping"}]}, "frames: expected"),
        ({"state": {"phase": "open"}}, "state: expected"),
        ({"do": {"opened": {}}}, "frames that nothing expected"),
        ({"do": {"disconnect": {}}, "refused": True}, "not refused"),
    ],
)
def test_runner_convicts_a_client_that_breaks_a_case(
    page: Chrome, step: dict[str, Any], expected: str
) -> None:
    """A runner that can't fail proves nothing."""
    broken = {"name": "broken", "steps": [{"do": {"connect": {}}}, step]}
    assert expected in page.execute_async_script(RUN, "/tests/conformance.js", json.dumps(broken))


def test_outbox_survives_a_new_store_and_keeps_its_order(page: Chrome) -> None:
    """What was asked before a reload is asked again after it, in order, with the same keys."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("outbox"))
    assert found == {"outbox": ["a", "b"], "after_confirmation": ["b"], "cleared": []}


def test_store_never_holds_a_cursor_beyond_its_messages(page: Chrome) -> None:
    """A tab killed at any moment leaves a cursor whose messages are all there."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("cursor"))
    assert found == {"cursor": 2, "messages": ["m1", "m2"], "epoch": "e1"}


def test_text_that_no_server_stores_never_enters_the_outbox(page: Chrome) -> None:
    """One that is longer than a frame would end the session for good, and again after every reload."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("unstorable"))
    too_long = "A message takes 65536 bytes and this one has {}; shorten it."
    assert found == {
        "errors": [too_long.format(65_537), too_long.format(65_538), "taken"],
        "waiting": 1,
    }


def test_two_tabs_of_one_device_keep_each_others_outbox(page: Chrome) -> None:
    """Neither tab overwrites what the other has queued."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("tabs"))
    assert found == ["from the first tab", "from the second tab"]
