"""A user's devices: registered with a login, listed and revoked by each other."""

from uuid import UUID

from asgiref.sync import sync_to_async
from django.db.models import F, QuerySet
from ninja import Router
from pydantic import Field

from messaging.api.auth import DeviceRequest, Login, LoginRequest
from messaging.api.refusals import REFUSED, Declined, Problem, RefusalOut
from messaging.api.values import PAGE, Given, Key, Shown, Text, known_milliseconds, milliseconds
from presence import roster, tokens
from presence.database import let_go
from presence.liveness import State
from presence.models import Device
from presence.who import who_is_here

router = Router(tags=["devices"])


class DeviceIn(Given):
    installation: Key = Field(description="Made by the client once and kept: a repeat is safe.")
    name: Text = Field("", max_length=64)
    platform: Text = Field("", max_length=32)


class RegisteredOut(Shown):
    device: str
    token: str = Field(description="Shown once. A repeat replaces it.")
    user: str


class DeviceOut(Shown):
    device: str
    name: str
    platform: str
    registered: int
    last_seen: int | None
    revoked: int | None
    state: State = Field(description="How it is here at this moment.")
    this: bool = Field(description="Whether it is the device that asks.")


class DevicesOut(Shown):
    devices: list[DeviceOut]


@router.post("/devices", auth=Login(), response={200: RegisteredOut, REFUSED: RefusalOut})
def register_device(request: LoginRequest, given: DeviceIn) -> RegisteredOut:
    """Register a device with a login. A repeat gives the same device and a fresh token."""
    device, token = tokens.register(user=request.auth, **given.model_dump())
    return RegisteredOut(device=str(device.pk), token=token, user=str(device.user_id))


@router.get("/devices", response={200: DevicesOut, REFUSED: RefusalOut})
def list_devices(request: DeviceRequest) -> DevicesOut:
    """The user's devices, at most 200: first those that are not revoked, newest first, then those revoked last."""
    mine = Device.objects.filter(user=request.auth.user_id)
    devices = mine.order_by(F("revoked").desc(nulls_first=True), "-registered", "-pk")[:PAGE]
    user = str(request.auth.user_id)
    states = who_is_here([user])[user].devices
    return DevicesOut(
        devices=[
            _shown(device, request, state=states.get(str(device.pk), "offline"))
            for device in devices
        ]
    )


@router.post("/devices/token", response={200: RegisteredOut, REFUSED: RefusalOut})
def rotate_token(request: DeviceRequest) -> RegisteredOut:
    """Replace the token that asks. Open sessions stay; if the answer is lost, log in or link again."""
    device, token = request.auth, tokens.rotate(request.auth)
    return RegisteredOut(device=str(device.pk), token=token, user=str(device.user_id))


@router.delete("/devices/{device}", response={200: DeviceOut, REFUSED: RefusalOut})
async def revoke_device(request: DeviceRequest, device: UUID) -> DeviceOut:
    """Revoke a device for ever. When this answers, nothing more reaches it."""
    mine = Device.objects.filter(user=request.auth.user_id, pk=device)
    if not await sync_to_async(_exists)(mine):
        raise Declined(Problem.NO_SUCH_DEVICE)
    await roster.revoke(str(device))
    return _shown(await mine.aget(), request, state="offline")


def _exists(devices: QuerySet[Device]) -> bool:
    """Whether there is one; and nothing of the pool is held any more, for a revocation may wait for seconds."""
    try:
        return devices.exists()
    finally:
        let_go()


def _shown(device: Device, request: DeviceRequest, *, state: State) -> DeviceOut:
    return DeviceOut(
        device=str(device.pk),
        name=device.name,
        platform=device.platform,
        registered=milliseconds(device.registered),
        last_seen=known_milliseconds(device.last_seen),
        revoked=known_milliseconds(device.revoked),
        state=state,
        this=device.pk == request.auth.pk,
    )
