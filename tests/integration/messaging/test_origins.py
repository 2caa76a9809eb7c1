"""Whose pages may open a socket: ours, and those that the settings name."""

from typing import Any

import pytest

from messaging.handshake import origin_allowed

HOST = "chat.example.org:8443"


def allowed(origin: str | None, host: str = HOST) -> bool:
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    return origin_allowed({"headers": headers})


@pytest.fixture(autouse=True)
def names(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["chat.example.org", ".example.net"]
    settings.LOCKSTEP_MESSAGING = {"allowed_origins": ["https://partner.example.com"]}


def test_a_page_of_the_same_host_may() -> None:
    assert allowed(f"https://{HOST}")
    assert allowed(f"https://{HOST.upper()}")
    assert allowed("https://a.example.net", "a.example.net")


def test_a_client_that_is_no_browser_sends_no_origin_and_may() -> None:
    assert allowed(None)
    assert allowed(None, "10.0.0.7:8000")


def test_a_page_that_the_settings_name_may() -> None:
    assert allowed("https://partner.example.com")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "file://",
        "https://chat.example.org",
        "https://chat.example.org:8443.evil",
    ],
)
def test_another_page_may_not(origin: str) -> None:
    assert not allowed(origin)


@pytest.mark.parametrize("name", ["evil.example:8000", "chat.example.org.evil.example", "", "[::1"])
def test_a_foreign_name_that_leads_here_is_not_ours(name: str) -> None:
    """DNS rebinding: the page of evil.example has its name point to us, and is of the same host then."""
    assert not allowed(f"http://{name}", name)
