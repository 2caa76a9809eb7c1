"""A user who is deactivated, by SQL or in the admin, loses the live sessions too."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from messaging.engine import Engine
from messaging.hub import reconciler
from messaging.protocol.errors import CloseCode
from presence.models import User
from tests import scene
from tests.device import Device
from tests.scene import Psql, Room, Seat

pytestmark = pytest.mark.django_db


def deactivate(sql: Psql, seat: Seat) -> None:
    sql.execute("UPDATE presence_user SET is_active = false WHERE id = %s", [seat.user])


async def loses_its_sessions(ann: Device, laptop: Device, bob: Device, room: Room) -> None:
    assert await ann.ended() == await laptop.ended() == CloseCode.REVOKED
    heard = len(ann.heard)
    assert (await bob.write(room.id, "after"))["type"] == "ok"
    assert len(ann.heard) == heard


async def test_plain_sql_ends_the_sessions_of_all_devices_and_of_nobody_else(
    attach: Any, room: Room, sql: Psql
) -> None:
    ann, laptop = await attach(room.first), await attach(scene.new_seat(sql, room.first.user))
    bob = await attach(room.second)
    deactivate(sql, room.first)
    await loses_its_sessions(ann, laptop, bob, room)
    assert await (await attach(room.first)).ended() == CloseCode.UNAUTHORIZED
    sql.execute("UPDATE presence_user SET is_active = true WHERE id = %s", [room.first.user])
    again = await attach(room.first)
    await again.reaches(room.id, 3)  # two who joined, and what was said
    assert again.bodies(room.id) == ["after"]


async def test_the_admin_ends_the_sessions_too(attach: Any, room: Room, sql: Psql) -> None:
    ann, laptop = await attach(room.first), await attach(scene.new_seat(sql, room.first.user))
    bob = await attach(room.second)
    await asyncio.to_thread(_deactivate_in_the_admin, UUID(room.first.user))
    await loses_its_sessions(ann, laptop, bob, room)


def _deactivate_in_the_admin(user: UUID) -> None:
    """Save the user's page with the box unticked, as an operator does."""
    try:
        operator = Client()
        operator.force_login(User.objects.create_superuser(username="operator"))
        page = reverse("admin:presence_user_change", args=[user])
        form = {"username": "ann", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
        assert operator.post(page, form).status_code == 302
        assert not User.objects.get(pk=user).is_active
    finally:
        connection.close()


async def test_a_lost_hint_costs_one_pass(
    engine: Engine, attach: Any, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "PASS_S", 0.1)
    ann = await attach(room.first)
    monkeypatch.setattr(engine.hub, "hint", lambda group: None)
    engine.hub.check_all.set()  # the pause under way is still a long one
    deactivate(sql, room.first)
    assert await ann.ended() == CloseCode.REVOKED


async def test_a_user_deactivated_between_token_and_session_gets_none(
    engine: Engine, room: Room, sql: Psql, monkeypatch: pytest.MonkeyPatch, attach: Any
) -> None:
    arrive = engine.roster.arrive

    async def deactivated_at_once(token: str) -> Any:
        arrival = await arrive(token)
        deactivate(sql, room.first)
        return arrival

    monkeypatch.setattr(engine.roster, "arrive", deactivated_at_once)
    ann = await attach(room.first)
    assert await ann.ended() == CloseCode.REVOKED
    assert [frame["type"] for frame in ann.heard] == ["goodbye"]


async def test_other_changes_of_a_user_tell_nobody(room: Room, sql: Psql) -> None:
    version = "SELECT version FROM messaging_inbox WHERE user_id = %s"
    before = scene.one(sql, version, room.first.user)
    sql.execute("UPDATE presence_user SET last_login = now() WHERE id = %s", [room.first.user])
    assert scene.one(sql, version, room.first.user) == before
    deactivate(sql, room.first)
    assert scene.one(sql, version, room.first.user) == before + 1
