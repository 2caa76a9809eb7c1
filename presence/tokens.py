"""Tokens of devices: made, registered, rotated.

A token is 256 random bits, shown once. Only its SHA-256 is stored: a plain hash is enough, because
nobody can guess 256 bits, and it can be looked up by index. Who may register is the caller's affair.
"""

import hashlib
import secrets
from uuid import UUID

from django.db import connection

from presence import database
from presence.models import Device, User
from presence.signals import device_registered

TOKEN_BYTES = 32

# Until the transaction ends nobody deactivates the user, and whoever erases them finds the device.
STILL_ACTIVE = f"SELECT FROM {User._meta.db_table} WHERE id = %s AND is_active FOR SHARE"


class DeviceRevoked(Exception):
    """A revoked device asked for a token; it needs a new installation id."""

    def __init__(self, *, device: UUID) -> None:
        super().__init__(device)
        self.device = device

    def __str__(self) -> str:
        return (
            f"Device {self.device} is revoked, for ever; register again with a new installation id."
        )


class UserGone(Exception):
    """The user was deactivated, or erased, since they were asked who they are."""

    def __str__(self) -> str:
        return "This user is not active any more: no device can be registered."


class TokenReplaced(Exception):
    """The token that asked for another was replaced meanwhile: only one of the two may be the next."""

    def __str__(self) -> str:
        return (
            "This token was replaced at the same moment; use the other answer's, or log in again."
        )


def new_token() -> tuple[str, bytes]:
    """Return a new token and the hash to store for it."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return token, token_hash(token)


def token_hash(token: str) -> bytes:
    """Return the 32 bytes under which the token is stored."""
    return hashlib.sha256(token.encode()).digest()


def register(
    *, user: User, installation: str, name: str = "", platform: str = ""
) -> tuple[Device, str]:
    """Return the user's device of this installation and a token for it.

    A repeat gives the same device and a fresh token, and the old token stops working for new
    sessions. Raises DeviceRevoked and UserGone, and OperationalError if the user or the device is locked for long.
    """
    token, digest = new_token()
    facts: dict[str, str | bytes] = {"token_hash": digest, "name": name, "platform": platform}
    with database.brief():
        _hold(user)
        device, created = Device.objects.select_for_update(no_key=True).get_or_create(
            user=user, installation=installation, defaults=facts
        )
        if not created:
            _renew(device, facts)
        device_registered.send(sender=Device, device=device, created=created)
    return device, token


def rotate(device: Device) -> str:
    """Return a fresh token for the device; the one it was loaded with stops working for new sessions.

    Raises DeviceRevoked and TokenReplaced, and OperationalError as `register`.
    """
    token, digest = new_token()
    with database.brief():
        stored = Device.objects.select_for_update(no_key=True).get(pk=device.pk)
        if bytes(stored.token_hash) != bytes(device.token_hash):
            raise TokenReplaced
        _renew(stored, {"token_hash": digest})
    return token


def is_admitted(device: Device) -> bool:
    """Whether the device is still what it was when its request began: not revoked, of an active user."""
    return Device.objects.filter(pk=device.pk, revoked=None, user__is_active=True).exists()


def _hold(user: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute(STILL_ACTIVE, [user.pk])
        if cursor.fetchone() is None:
            raise UserGone


def _renew(device: Device, facts: dict[str, str | bytes]) -> None:
    if device.revoked is not None:
        raise DeviceRevoked(device=device.pk)
    for field, value in facts.items():
        setattr(device, field, value)
    device.save(update_fields=list(facts))
