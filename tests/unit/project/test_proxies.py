"""Whose address counts behind a proxy: the one that our proxy saw, and only if it is ours."""

from typing import Any

import pytest

from project.errors import ServiceError
from project.proxies import Proxies, networks

PROXY, CLIENT = "10.0.0.7", "203.0.113.9"


async def seen(
    *trusted: str, peer: str = PROXY, kind: str = "http", **headers: str
) -> dict[str, Any]:
    """The scope that the application behind gets."""
    found: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        found.append(scope)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "scheme": "ws" if kind == "websocket" else "http", "client": (peer, 1)}
    believed = networks(",".join(trusted), setting="TRUSTED_PROXIES")
    await Proxies(app, believed)({**scope, "headers": raw}, None, None)
    return found[0]


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_behind_a_trusted_proxy_the_client_is_who_the_proxy_saw(kind: str) -> None:
    scope = await seen("10.0.0.0/8", kind=kind, x_forwarded_for=CLIENT, host="chat.example.org")
    assert scope["client"][0] == CLIENT
    assert scope["headers"] == [(b"host", b"chat.example.org")]


@pytest.mark.parametrize("trusted", [(), ("192.168.0.0/16",)])
async def test_nobody_is_believed_unless_the_settings_say_so(trusted: tuple[str, ...]) -> None:
    """Not even somebody on this machine."""
    for peer in (PROXY, "127.0.0.1", "::1"):
        scope = await seen(*trusted, peer=peer, x_forwarded_for=CLIENT, x_forwarded_proto="https")
        assert scope["client"][0] == peer
        assert scope["scheme"] == "http"
        assert (b"x-forwarded-for", CLIENT.encode()) in scope["headers"]


async def test_what_the_client_itself_wrote_into_the_header_counts_for_nothing() -> None:
    scope = await seen("10.0.0.0/8", x_forwarded_for=f"127.0.0.1, 198.51.100.1, {CLIENT}, 10.1.1.1")
    assert scope["client"][0] == CLIENT


@pytest.mark.parametrize(
    ("said", "client"),
    [
        (f"{CLIENT}:51234", CLIENT),
        (f"10.0.0.9:1, {CLIENT}:51234, 10.1.1.1:2", CLIENT),
        ("[2001:db8::9]:443", "2001:db8::9"),
        ("[2001:db8::9]", "2001:db8::9"),
        ("2001:db8::9", "2001:db8::9"),
    ],
)
async def test_a_proxy_may_tell_the_port_of_the_client_too(said: str, client: str) -> None:
    """Azure's does: all clients were one, and ten wrong codes of a stranger kept everybody from linking."""
    assert (await seen("10.0.0.0/8", x_forwarded_for=said))["client"][0] == client


@pytest.mark.parametrize("said", ["", "unknown", "10.0.0.9", f"{CLIENT}, _hidden", f"{CLIENT}:"])
async def test_without_an_address_that_can_be_told_it_is_the_proxys(said: str) -> None:
    """An attacker must not choose where their guesses are counted."""
    assert (await seen("10.0.0.0/8", x_forwarded_for=said))["client"][0] == PROXY


@pytest.mark.parametrize(("kind", "secure"), [("http", "https"), ("websocket", "wss")])
async def test_a_trusted_proxy_says_whether_the_client_came_by_tls(kind: str, secure: str) -> None:
    scope = await seen("10.0.0.7", kind=kind, x_forwarded_for=CLIENT, x_forwarded_proto="https")
    assert scope["scheme"] == secure


async def test_an_ipv6_socket_knows_an_ipv4_proxy_and_its_client() -> None:
    scope = await seen("10.0.0.7", peer=f"::ffff:{PROXY}", x_forwarded_for=f"::ffff:{CLIENT}")
    assert scope["client"][0] == CLIENT


def test_a_proxy_that_is_no_network_is_said_in_one_line() -> None:
    with pytest.raises(ServiceError, match=r"TRUSTED_PROXIES: haproxy is no address or network"):
        networks("10.0.0.0/8, haproxy", setting="TRUSTED_PROXIES")
