"""The browser client keeps every promise of the shared conformance cases, in real Chromium."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from selenium.webdriver import Chrome
from websockets import Subprotocol
from websockets.sync.server import ServerConnection, serve

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


REQUEST = """
    const [path, as, answer] = arguments;
    import("/messaging/rest.js")
        .then(({ request, upload }) => as === "upload" ? upload(new Blob(["a"]), { base: `/api${path}` }) : request(path, { as }))
        .then((value) => answer(["taken", value]), ({ code, status }) => answer([code, status]));
"""

# A second is a millisecond.
HURRY = """
    const plain = window.setTimeout;
    window.setTimeout = (work, ms) => plain(work, ms / 1000);
    window.calm = () => (window.setTimeout = plain);
"""

LOOK = """
    const [answer] = arguments;
    import("/messaging/lockstep.js").then(({ Client }) => {
        const client = new Client({ token: "t", url: "/nothing" });
        client.addEventListener("change", () => {
            if (client.phase !== "waiting") return;
            document.dispatchEvent(new Event("visibilitychange"));
            answer(client.phase);
            client.close();
        });
        client.connect();
    });
"""

# With timers that never come: what is said is said at once, or not at all.
LISTEN = """
    const [url, answer] = arguments;
    import("/messaging/lockstep.js").then(({ Client }) => {
        const plain = window.setTimeout;
        window.setTimeout = () => 0;
        window.listener = new Client({ token: "t", url });
        window.listener.connect();
        window.silence = () => (window.listener.close(), (window.setTimeout = plain));
        answer();
    });
"""

PIXELS = """
    const [type, answer] = arguments;
    const canvas = new OffscreenCanvas(300, 70);
    const gif = [71, 73, 70, 56, 57, 97, 9, 0, 9, 0, 128, 0, 0, 1, 2, 3, 4, 5, 6, 33, 249, 4, 0, 0, 0, 0, 0, 44, 0, 0, 0, 0, 44, 1, 70, 0, 0];
    import("/messaging/pixels.js").then(({ pixels }) => {
        const tell = async (blob) => answer([pixels(await blob.arrayBuffer(), type), pixels(await blob.slice(0, 12).arrayBuffer(), type)]);
        if (type === "image/gif") tell(new Blob([new Uint8Array(gif)]));
        else canvas.getContext("2d") && canvas.convertToBlob({ type }).then(tell);
    });
"""


class Files(SimpleHTTPRequestHandler):
    """The client's modules below /messaging/, the runners beside this file below /tests/."""

    extensions_map = {".js": "text/javascript", ".html": "text/html"}

    def translate_path(self, path: str) -> str:
        """Find a file in one of the two directories."""
        folder = HERE if path.startswith("/tests/") else APP / "static" / "messaging"
        return str(folder / Path(path).name)

    def do_GET(self) -> None:
        """Some answers break off in their middle, and some are not the server's."""
        if not self.path.startswith("/api/"):
            return super().do_GET()
        if "dead" in self.path:
            self.rfile.read(1)  # until the browser hangs up
            return None
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(200)
        self.send_header("Content-Length", "20" if "portal" in self.path else "100")
        self.end_headers()
        self.wfile.write(b"<p>Please log in</p>")
        if "dying" in self.path:
            self.rfile.read(1)
        return None

    do_POST = do_GET  # noqa: N815 - the library's name

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


def test_outbox_keeps_its_order_though_the_clock_is_set_back(page: Chrome) -> None:
    """Also over a reload: what was asked first goes first."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("clock"))
    assert found == ["at 5000", "at 4000", "at 4500", "at 3000"]


def test_store_never_holds_a_cursor_beyond_its_messages(page: Chrome) -> None:
    """A tab killed at any moment leaves a cursor whose messages are all there."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("cursor"))
    assert found == {"cursor": 2, "messages": ["m1", "m2"], "epoch": "e1"}


def test_new_conversation_is_stored_before_it_is_acknowledged(page: Chrome) -> None:
    """The feed of one that is not stored would go on at the mark: what was acknowledged, and lost with the tab, never came."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("joined"))
    assert found == {"acknowledged": [{"conversation": "c2", "delivered": 1}], "said": 0}


def test_cursor_of_a_tab_that_slept_through_a_restore_counts_for_nothing(page: Chrome) -> None:
    """Under the new database's epoch it would hide as many changes as it is ahead."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("asleep"))
    assert found == {"epoch": "e2", "cursor": None}


def test_request_for_which_there_was_no_room_is_stored_as_soon_as_there_is(page: Chrome) -> None:
    """Unless it is settled by then."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("roomless"))
    assert found == {"told": ["QuotaExceededError"] * 2, "kept": ["b"]}


def test_connection_that_died_in_its_sleep_is_given_up_eight_seconds_after_a_look(
    page: Chrome,
) -> None:
    """Not only after 20 s without a word, and 8 more."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("probed"))
    assert found == {"frames": ["ping"], "phase": "waiting"}


def test_page_that_is_looked_at_again_does_not_wait_to_reconnect(page: Chrome) -> None:
    """The timer of a hidden page may be a minute late."""
    assert page.execute_async_script(LOOK) == "connecting"


def test_half_of_the_window_is_acknowledged_at_once_in_any_script(page: Chrome) -> None:
    """It is counted in bytes: a Chinese letter has three. In a hidden tab the timer that would do it later comes once a minute."""
    heard: Queue[str] = Queue()

    def feed(socket: ServerConnection) -> None:
        """Send a welcome, a short message and one of more than half of the window."""
        socket.recv()
        fields = {"device": "d", "user": "u", "session": "s", "epoch": "e"}
        limits = {"body_bytes": 65_536, "frame_bytes": 1_048_576, "requests": 256}
        window = {"messages": 1000, "bytes": 81_920}
        socket.send(json.dumps({"type": "welcome", **fields, "limits": limits, "window": window}))
        for seq, body in enumerate(["short", "字" * 14_000], start=1):
            message = {"id": f"m{seq}", "seq": seq, "position": seq, "body": body}
            events = {"type": "events", "conversation": "c", "since": seq - 1, "upto": seq}
            frame = json.dumps({**events, "messages": [message]}, ensure_ascii=False)
            socket.send(frame)
            heard.put(str(socket.recv()))

    with serve(feed, "127.0.0.1", 0, subprotocols=[Subprotocol("lockstep.v1.json")]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.execute_async_script(LISTEN, f"ws://127.0.0.1:{server.socket.getsockname()[1]}/")
        try:
            told = [json.loads(heard.get(timeout=5))["marks"] for _ in range(2)]
        finally:
            page.execute_script("window.silence()")
            server.shutdown()
    assert told == [[{"conversation": "c", "delivered": n}] for n in (1, 2)]


def test_request_goes_before_stored_messages_where_there_is_no_room_for_both(
    page: Chrome,
) -> None:
    """The server has those; the cursor stays, and what is before it comes over REST."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("crowded"))
    assert found == {"waiting": 1, "kept": [[2, 3, 0], [None, None, 0]]}


def test_conversation_without_room_keeps_no_other_from_being_stored(page: Chrome) -> None:
    """Or of all others nothing was stored any more, and with each connection the user was told that what waits is lost."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("outgrown"))
    assert found == {"long": 0, "short": [1, 1]}


def test_tab_sends_what_another_one_of_the_device_did_not_live_to_send(page: Chrome) -> None:
    """In the order in which it was asked; not only after a reload."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("orphaned"))
    assert found == {"frames": ["a", "c"], "order": ["a", "b", "c"], "waiting": ["a", "b", "c"]}


def test_files_of_a_message_are_known_while_it_waits_and_when_it_is_taken(page: Chrome) -> None:
    """Also after a reload; on the wire are their ids."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("files"))
    plan = {"id": "f1", "name": "plan.pdf", "size": 9}
    assert found == {"asked": ["f1", "f2"], "waiting": [plan], "taken": [plan]}


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif"])
def test_size_of_a_picture_is_known_before_it_is_decoded(page: Chrome, kind: str) -> None:
    """One that does not say it counts as too large."""
    assert page.execute_async_script(PIXELS, f"image/{kind}") == [300 * 70, None]


def test_text_that_no_server_stores_never_enters_the_outbox(page: Chrome) -> None:
    """One that is longer than a frame would end the session for good, and again after every reload."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("unstorable"))
    too_long = "A message takes 65536 bytes and this one has {}; shorten it."
    assert found == {
        "errors": [too_long.format(65_537), too_long.format(65_538), "taken"],
        "waiting": 1,
    }


def test_ticks_are_those_of_devices_again_when_a_large_conversation_has_shrunk(
    page: Chrome,
) -> None:
    """The last counts of when it was large would hold for ever."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("shrunk"))
    assert found == ["stored", "read"]


def test_devices_are_asked_for_though_the_clock_is_set_back(page: Chrome) -> None:
    """A message counted as delivered to every device while a new one was not known, until the clock had caught up."""
    assert page.execute_async_script(RUN, "/tests/stores.js", json.dumps("roster")) == 2


def test_two_tabs_of_one_device_keep_each_others_outbox(page: Chrome) -> None:
    """Neither tab overwrites what the other has queued."""
    found = page.execute_async_script(RUN, "/tests/stores.js", json.dumps("tabs"))
    assert found == ["from the first tab", "from the second tab"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/cut", "json"),
        ("/cut", "blob"),
        ("/portal", "json"),
        ("/cut", "upload"),
        ("/portal", "upload"),
    ],
)
def test_half_an_answer_and_a_strangers_answer_are_no_answer(
    page: Chrome, path: str, kind: str
) -> None:
    """A network that breaks, or wants a log-in first, is told as one that does not reach the server."""
    assert page.execute_async_script(REQUEST, path, kind) == ["unreachable", 0]


@pytest.mark.parametrize(
    ("path", "kind"), [("/dead", "json"), ("/dead", "blob"), ("/dying", "blob")]
)
def test_call_on_a_dead_line_is_given_up(page: Chrome, path: str, kind: str) -> None:
    """A browser waits for as long as the system does, a quarter of an hour: a log-out said nothing, and behind a picture no other one came."""
    page.execute_script(HURRY)
    try:
        assert page.execute_async_script(REQUEST, path, kind) == ["unreachable", 0]
    finally:
        page.execute_script("window.calm()")
