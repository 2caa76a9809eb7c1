"""From DATABASE_URL to Django's DATABASES entry.

Forms: `postgres://user:password@host:port/name?option=value`, and for a Unix socket
`postgres://user@/name?host=/directory`. Every other query parameter goes to libpq as it is.
"""

from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from project.errors import ServiceError

# HTTP and the ORM share these connections; the journal and LISTEN have their own.
# Eight is one per thread that Django's handler keeps busy on two cores, with room to spare.
POOL = {"min_size": 1, "max_size": 8, "timeout": 10}

FORM = (
    "DATABASE_URL must look like postgres://user:password@host:5432/name, and what a password has besides "
    "letters and digits is written as %40 (@), %2F (/), %23 (#), %5B ([)."
)

NO_DATABASE: dict[str, Any] = {"ENGINE": "django.db.backends.dummy"}


def database_from_url(url: str) -> dict[str, Any]:
    """Return the DATABASES entry for `url`, or one without a database when it is empty.

    Raises ServiceError when `url` is not a PostgreSQL address.
    """
    if not url:
        return NO_DATABASE
    try:
        parts = urlsplit(url)
    except ValueError:  # it takes a bracket for the beginning of an IPv6 address
        raise ServiceError(FORM) from None
    query = dict(parse_qsl(parts.query))
    name = unquote(parts.path.lstrip("/"))
    if parts.scheme not in {"postgres", "postgresql"} or not name:
        raise ServiceError(FORM)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or query.pop("user", "")),
        "PASSWORD": unquote(parts.password or query.pop("password", "")),
        "HOST": query.pop("host", "") or parts.hostname or "",
        "PORT": query.pop("port", "") or str(port_of(url) or ""),
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,  # a pooled connection may be older than the server
        "OPTIONS": {**query, "pool": dict(POOL)},
    }


def port_of(url: str) -> int | None:
    """Return the port in `url`; raises ServiceError when it is no number from 0 to 65535."""
    try:
        return urlsplit(url).port
    except ValueError:
        raise ServiceError(f"The port is no number from 0 to 65535: {FORM}") from None


def listed(given: str) -> list[str]:
    """The names in a setting, with commas between them, and perhaps spaces."""
    return [name for name in map(str.strip, given.split(",")) if name]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at `host`, a name or an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
