"""The page at `/`, and `/metrics`.

The page is an empty desk whose devices are clients of the same API and socket as any other.

Nothing of a user is in it; the browser logs in over REST. Its policy allows our own files only.
"""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from messaging import conf, metrics
from presence.models import User

DEMO_USERS = ("alice", "bob")  # `serve` makes them, with the password `lockstep`, in development


def metrics_page(request: HttpRequest) -> HttpResponse:
    """Answer Prometheus: from the networks in METRICS_FROM (this machine), or to staff."""
    user = getattr(request, "user", None)
    if not (_near(request) or (user and user.is_staff)):
        return HttpResponse(
            "Metrics are for the networks in METRICS_FROM and for staff.\n", status=403
        )
    body, content_type = metrics.exposition()
    return HttpResponse(body, content_type=content_type)


def _near(request: HttpRequest) -> bool:
    """Whether the request comes from where metrics may be read.

    One that still has X-Forwarded-For came through a proxy that is not trusted: its address is the proxy's.
    """
    if "X-Forwarded-For" in request.headers:
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:  # a UNIX socket has none
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in settings.METRICS_FROM)


async def page(request: HttpRequest) -> HttpResponse:
    """Answer the page; in development with a button for each demo login that exists."""
    demo = User.objects.filter(username__in=DEMO_USERS, is_active=True).order_by("username")
    names = [user.username async for user in demo] if settings.DEBUG else []
    about = {"demo_users": names, "file_bytes": conf.current().file_bytes}
    response = render(request, "messaging/page.html", about)
    response["Content-Security-Policy"] = _policy(request.get_host())
    return response


def _policy(host: str) -> str:
    """Own files and own connections; no inline script or style, no frame, nothing foreign."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' ws://{host} wss://{host}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
