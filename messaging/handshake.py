"""What the head of a WebSocket's handshake says of who asks: the token, and the page that it comes from."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from messaging import conf


def header_token(scope: dict[str, Any]) -> str | None:
    """The bearer token of the handshake's `Authorization` header, if there is one."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return str(value[7:].decode("latin-1").strip())
    return None


def origin_allowed(scope: dict[str, Any]) -> bool:
    """Whether a page of this origin may open a socket. Clients that are no browsers send no origin.

    A page is ours if it comes from the host that it asks, and that is one of our names: a foreign name
    that leads here (DNS rebinding) is none.
    """
    headers = dict(scope["headers"])
    origin = headers.get(b"origin", b"").decode("latin-1")
    if not origin or origin in conf.current().allowed_origins:
        return True
    host = headers.get(b"host", b"").decode("latin-1").lower()
    name, _ = split_domain_port(host)
    ours = bool(name) and validate_host(name, settings.ALLOWED_HOSTS)
    return ours and origin.partition("://")[2].lower() == host
