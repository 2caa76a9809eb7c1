"""The page as the server sends it; what it does in a browser is in the acceptance tests."""

import re
from typing import Any

import pytest
from django.test import Client

from presence.models import User

pytestmark = pytest.mark.django_db


def test_demo_users_are_offered_in_development_if_they_exist(client: Client, settings: Any) -> None:
    """A site without them shows the log-in form only."""
    settings.DEBUG = True
    assert b'data-demo=""' in client.get("/").content
    User.objects.create_user("bob", password="lockstep")
    assert b'data-demo="bob"' in client.get("/").content


def test_demo_users_are_never_offered_in_production(client: Client, settings: Any) -> None:
    """A real user may be called alice; her name is nobody's business."""
    settings.DEBUG = False
    User.objects.create_user("alice", password="lockstep")
    assert b"alice" not in client.get("/").content


def test_policy_allows_own_files_and_own_sockets_only(client: Client) -> None:
    """Injected markup can neither run nor phone home."""
    policy = client.get("/", headers={"host": "testserver"})["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "connect-src 'self' ws://testserver wss://testserver;" in policy
    assert "unsafe" not in policy


def test_page_knows_how_large_a_file_may_be(client: Client, settings: Any) -> None:
    """So that nobody waits for an upload that is refused."""
    settings.LOCKSTEP_MESSAGING = {"file_bytes": 12_345_678}
    assert b'data-file-bytes="12345678"' in client.get("/").content


def test_page_has_no_inline_script_or_style(client: Client) -> None:
    """The policy would block them."""
    html = client.get("/").content.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html) == []
