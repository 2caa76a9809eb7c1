"""Linking a new device without a password: a code from one that is signed in, taken to the new one."""

from urllib.parse import urlencode

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from messaging.api.auth import DeviceRequest
from messaging.api.devices import DeviceIn, RegisteredOut
from messaging.api.refusals import REFUSED, Declined, Problem, RefusalOut
from messaging.api.values import Shown, Text, milliseconds
from presence import links

router = Router(tags=["devices"])


class LinkCodeOut(Shown):
    code: str = Field(description="Shown once: XXXX-XXXX, for one device and two minutes.")
    expires: int
    qr: str = Field(description="What a QR code holds: this server's address and the code.")


class LinkIn(DeviceIn):
    code: Text = Field(max_length=64, description="In any case, with or without the hyphen.")


@router.post("/devices/link-codes", response={200: LinkCodeOut, REFUSED: RefusalOut})
def issue_link_code(request: DeviceRequest) -> LinkCodeOut:
    """Get a code that links one more device to the user. Five unused ones: `overloaded`."""
    issued = links.issue(request.auth)
    where = urlencode({"server": request.build_absolute_uri("/"), "code": issued.code})
    return LinkCodeOut(
        code=issued.code, expires=milliseconds(issued.expires), qr=f"lockstep://link?{where}"
    )


@router.post("/devices/link", auth=None, response={200: RegisteredOut, REFUSED: RefusalOut})
def link_device(request: HttpRequest, given: LinkIn) -> RegisteredOut:
    """Register a device with a link code. Ten wrong ones from an address in a minute: `overloaded`."""
    linked = links.redeem(**given.model_dump(), address=request.META.get("REMOTE_ADDR", ""))
    if linked is None:
        raise Declined(Problem.NO_SUCH_LINK_CODE)
    device, token = linked
    return RegisteredOut(device=str(device.pk), token=token, user=str(device.user_id))
