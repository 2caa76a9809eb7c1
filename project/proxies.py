"""Who a client behind our own proxy is: the address that the proxy saw, believed of nobody else.

With TRUSTED_PROXIES (networks, `10.0.0.0/8,127.0.0.1`) the client of a connection from there is the last address in
X-Forwarded-For that is none of them, and X-Forwarded-Proto says whether it came by TLS. Whoever else sends
such headers is only somebody who sends headers. The headers are gone then: what remains was not believed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from project.addresses import listed
from project.errors import ServiceError

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FOR, PROTO = b"x-forwarded-for", b"x-forwarded-proto"
WITH_PORT = re.compile(r"([\d.]+):\d+|\[([^]]+)\](?::\d+)?", re.ASCII)
SECURE = {"http": "https", "ws": "wss"}


def networks(given: str, *, setting: str) -> list[Network]:
    """The networks named, with commas between them. Raises ServiceError for what is none."""
    found = []
    for text in listed(given):
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise ServiceError(
                f"{setting}: {text} is no address or network; write 10.0.0.7 or 10.0.0.0/8."
            ) from None
    return found


class Proxies:
    """An ASGI application whose requests come from who sent them, not from the proxies between."""

    def __init__(self, app: App, trusted: Sequence[Network]) -> None:
        self._app, self._trusted = app, trusted

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request or one socket."""
        peer = (scope.get("client") or ("",))[0]
        if self._trusted and self._trusts(peer):
            scope = self._behind(scope)
        await self._app(scope, receive, send)

    def _behind(self, scope: dict[str, Any]) -> dict[str, Any]:
        forwarded = [value for name, value in scope["headers"] if name == FOR]
        proto = [value for name, value in scope["headers"] if name == PROTO]
        kept = [one for one in scope["headers"] if one[0] not in (FOR, PROTO)]
        seen = {**scope, "headers": kept}
        client = self._client(b",".join(forwarded).decode("latin-1"))
        if client is not None:
            seen["client"] = (client, 0)
        if proto and proto[-1].strip().lower() == b"https":
            seen["scheme"] = SECURE.get(scope["scheme"], scope["scheme"])
        return seen

    def _client(self, forwarded: str) -> str | None:
        """The last address that is none of ours; what stands before it, its sender may have made up."""
        for part in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
            address = _without_port(part)
            if not self._trusts(address):
                known = plain(address)
                return str(known) if known is not None else None
        return None

    def _trusts(self, address: str) -> bool:
        known = plain(address)
        return known is not None and any(known in network for network in self._trusted)


def _without_port(part: str) -> str:
    """The address alone: some proxies add the client's port, and brackets to one of IPv6."""
    found = WITH_PORT.fullmatch(part)
    return part if found is None else found[1] or found[2]


def plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, of IPv4 if an IPv6 socket only shows it as one of its own; None if it is none."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:  # a UNIX socket has none
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
