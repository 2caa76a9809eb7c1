"""Django system checks of a deployment: what DEBUG off alone does not make safe. `check --deploy` runs them.

They also ask what Django's own checks ask only of middlewares that they know by name.
"""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from project.addresses import is_loopback

MIN_HSTS_S = 86_400 * 30  # below it a browser forgets between two visits


def register() -> None:
    """Register all checks of this module."""
    for check in (check_key, check_hosts, check_tls, check_redis):
        checks.register(check, checks.Tags.security, deploy=True)


def check_key(**_: Any) -> list[CheckMessage]:
    """The key is the operator's, and the same on every machine."""
    if settings.SECRET_KEY_GIVEN:
        return []
    return [
        checks.Warning(
            "SECRET_KEY is not set: this machine made one of its own.",
            hint="Set SECRET_KEY, the same on all machines: logins and link codes of one are void on another.",
            id="project.W001",
        )
    ]


def check_hosts(**_: Any) -> list[CheckMessage]:
    """Only the site's own names are served."""
    if not any(host.strip() in ("*", "") for host in settings.ALLOWED_HOSTS):
        return []
    return [
        checks.Warning(
            "ALLOWED_HOSTS lets in every name: a page of another site can pass for ours (DNS rebinding).",
            hint="Set ALLOWED_HOSTS to the names of this site, such as chat.example.org.",
            id="project.W002",
        )
    ]


def check_tls(**_: Any) -> list[CheckMessage]:
    """Tokens and cookies travel by TLS only, and the server sees that they do."""
    secure = settings.SESSION_COOKIE_SECURE and settings.CSRF_COOKIE_SECURE
    if not (settings.HTTPS and secure and settings.SECURE_HSTS_SECONDS >= MIN_HSTS_S):
        problem = "Cookies and tokens may travel without TLS."
        hint = "End TLS at a proxy and leave HTTPS, SESSION_COOKIE_SECURE and SECURE_HSTS_SECONDS as they are."
        return [checks.Warning(problem, hint=hint, id="project.W003")]
    if not settings.TRUSTED_PROXIES:
        problem = "No proxy is trusted: the server sees neither TLS nor the addresses of clients."
        hint = (
            "Set TRUSTED_PROXIES to the addresses of the proxy that ends TLS, such as 10.0.0.0/8."
        )
        return [checks.Warning(problem, hint=hint, id="project.W004")]
    return []


def check_redis(**_: Any) -> list[CheckMessage]:
    """What is delivered passes through Redis: whoever reaches it reads and forges it."""
    parts = urlsplit(settings.REDIS_URL)
    if parts.scheme == "unix" or parts.password or is_loopback(parts.hostname or "localhost"):
        return []
    return [
        checks.Warning(
            "REDIS_URL names another machine without a password.",
            hint="Write rediss://:password@host:6379/0, and let nobody else reach it.",
            id="project.W005",
        )
    ]
