"""With DEBUG off and what docs/security.md asks for, Django and we have nothing to say against a deployment."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core import checks as django_checks
from django.core.checks import security
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware

from project import checks
from project.addresses import is_loopback
from project.management.commands.serve import Command

ROOT = Path(__file__).resolve().parents[3]
PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": "a-key-of-the-operator-s-own-0123456789-abcdefghijklmnop",
    "ALLOWED_HOSTS": "chat.example.org",
    "TRUSTED_PROXIES": "10.0.0.0/8",
    "DATABASE_URL": "postgres://lockstep:secret@db.example.org/lockstep",
    "REDIS_URL": "rediss://:secret@redis.example.org:6379/0",
}
ASKS = """
import json, django
from django.conf import settings
django.setup()
from django.core import checks
found = checks.run_checks(include_deployment_checks=True)
names = ["HTTPS", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS", "SESSION_COOKIE_HTTPONLY"]
print(json.dumps([[one.id for one in found if not one.is_silenced()], {name: getattr(settings, name) for name in names}]))
"""


def asked(**changes: str) -> Any:
    """What the checks say in a process with this environment, and the settings that count."""
    environment = {
        **os.environ,
        **PRODUCTION,
        **changes,
        "DJANGO_SETTINGS_MODULE": "project.settings",
    }
    found = subprocess.run(
        [sys.executable, "-c", ASKS], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    return json.loads(found.stdout)


@pytest.mark.slow
def test_nothing_is_to_be_said_against_the_settings_of_production() -> None:
    said, values = asked()
    assert said == []
    assert values == {
        "HTTPS": True,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SECURE_HSTS_SECONDS": 31_536_000,
        "SESSION_COOKIE_HTTPONLY": True,
    }


@pytest.mark.long
def test_what_is_left_out_is_named() -> None:
    left_out = {
        "SECRET_KEY": "",
        "ALLOWED_HOSTS": "*",
        "TRUSTED_PROXIES": "",
        "REDIS_URL": "redis://far",
    }
    said, _ = asked(**left_out)
    assert sorted(said) == ["project.W001", "project.W002", "project.W004", "project.W005"]


def test_django_s_own_checks_would_not_complain_if_they_knew_our_middlewares(settings: Any) -> None:
    """They look for its middlewares by name, and are silent when they find none."""
    ours = {
        "project.middleware.Security": SecurityMiddleware,
        "project.middleware.Forms": CsrfViewMiddleware,
        "project.middleware.Framing": XFrameOptionsMiddleware,
    }
    own = {name: f"{kind.__module__}.{kind.__name__}" for name, kind in ours.items()}
    settings.MIDDLEWARE = [own.get(name, name) for name in settings.MIDDLEWARE]
    settings.CSRF_COOKIE_SECURE, settings.SECURE_HSTS_SECONDS = True, 31_536_000
    found = [
        one.id
        for check in django_checks.registry.registry.get_checks(include_deployment_checks=True)
        if check.__module__.startswith(security.__name__)
        for one in check(app_configs=None)
    ]
    left_to_others = {
        "security.W005",  # HSTS of other names of the domain is not ours to say
        "security.W021",
        "security.W008",  # the proxy, which ends TLS, leads from http to https
        "security.W009",  # the key of the tests
        "security.W010",  # the cookie of the tests
        "security.W012",
    }
    assert set(found) <= left_to_others


@pytest.mark.parametrize(
    ("names", "value", "said"),
    [
        ("SECRET_KEY_GIVEN", False, "project.W001"),
        ("ALLOWED_HOSTS", ["chat.example.org", "*"], "project.W002"),
        ("HTTPS", False, "project.W003"),
        ("SESSION_COOKIE_SECURE", False, "project.W003"),
        ("CSRF_COOKIE_SECURE", False, "project.W003"),
        ("SECURE_HSTS_SECONDS", 60, "project.W003"),
        ("TRUSTED_PROXIES", [], "project.W004"),
        ("REDIS_URL", "redis://10.0.0.9:6379/0", "project.W005"),
        ("REDIS_URL", "redis://127.0.0.1:6379/0", None),
        ("REDIS_URL", "unix:///run/redis.sock", None),
    ],
)
def test_each_thing_that_is_not_safe_is_said_in_a_line(
    settings: Any, names: str, value: object, said: str | None
) -> None:
    settings.SECRET_KEY_GIVEN, settings.ALLOWED_HOSTS = True, ["chat.example.org"]
    settings.HTTPS = settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.SECURE_HSTS_SECONDS, settings.TRUSTED_PROXIES = 31_536_000, ["10.0.0.0/8"]
    settings.REDIS_URL = "rediss://:secret@redis.example.org/0"
    setattr(settings, names, value)
    every = (checks.check_key, checks.check_hosts, checks.check_tls, checks.check_redis)
    found = [one for check in every for one in check()]
    assert [one.id for one in found] == ([said] if said else [])
    assert all(one.hint and "\n" not in str(one.msg) for one in found)


@pytest.mark.slow
def test_a_development_server_is_not_shown_to_others() -> None:
    """Its demo users have well-known passwords, and its errors show what is inside."""
    command = [sys.executable, "manage.py", "serve", "--no-migrate", "--host", "0.0.0.0"]
    refused = subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, "DEBUG": "1"},
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: DEBUG is on, and others reach 0.0.0.0:")
    assert refused.stderr.count("\n") == 1


def test_an_address_of_this_machine_alone_is_told_apart() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "chat.example.org", "")))


@pytest.mark.usefixtures("transactional_db")
def test_more_processes_than_the_database_has_connections_for_are_told_in_a_line() -> None:
    """Else every call of the API waits for ten seconds and is refused, and nothing says why."""
    said = io.StringIO()
    command = Command(stderr=said)
    command._look_for_room(1)
    assert said.getvalue() == ""
    command._look_for_room(1_000)
    line = said.getvalue()
    assert "and 1000 processes want up to 20000: raise its max_connections, or give" in line
    assert line.count("\n") == 1
