"""When a request of a device is answered, whichever of answer, refusal and feed comes first."""

from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest

from messaging.protocol.client.happenings import Confirmed
from messaging.protocol.frames import Error, Ok, Send
from perf.load.requests import Requests

SEND = Send(conversation="c", client_id="k", body="b")
OK = Ok(client_id="k", message="m", seq=5, position=5, version=1, created=0)
OPEN = Error(code="database_unavailable", message="", client_id="k", retry_after=250)
SHOWN = Confirmed(
    client_id="k",
    conversation="c",
    request=SEND,
    message="m",
    seq=5,
    position=5,
    version=1,
    created=0,
)


class Silent:
    """Takes every call."""

    number = 1

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@pytest.fixture
def requests() -> Requests:
    around: Any = SimpleNamespace(recorder=SimpleNamespace(run="1-a"), observer=Silent())
    device, testimony = Silent(), Silent()
    return Requests(device, testimony, around)  # type: ignore[arg-type]


def sent(requests: Requests, *, session: int) -> None:
    requests.begin(SEND, "c", intended=None)
    requests.went(SEND, session)


def test_a_message_that_the_feed_shows_waits_for_its_ok(requests: Requests) -> None:
    sent(requests, session=1)
    requests.shown(SHOWN, 1, 0.0)
    assert requests.pending
    requests.acked(OK, 0.0)
    assert not requests.pending


@pytest.mark.parametrize("order", list(permutations(("refused", "shown"))), ids=" ".join)
def test_what_was_refused_with_an_open_end_and_is_shown_is_answered(
    requests: Requests, order: tuple[str, ...]
) -> None:
    """A client sends nothing again that it knows to be stored, so nothing more would come."""
    sent(requests, session=1)
    for what in order:
        assert requests.pending
        if what == "refused":
            requests.refused(OPEN, [], 0.0)
        else:
            requests.shown(SHOWN, 1, 0.0)
    assert not requests.pending


def test_what_was_refused_and_went_out_again_waits_for_its_ok(requests: Requests) -> None:
    sent(requests, session=1)
    requests.refused(OPEN, [], 0.0)
    requests.went(SEND, 1)
    requests.shown(SHOWN, 1, 0.0)
    assert requests.pending
