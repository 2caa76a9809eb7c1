"""Who asks: a person with a password once, then a device with its token for ever.

POST /api/login    password -> a signed value, good for five minutes
POST /api/devices  that value -> a device and its token (in `devices`)
everything else    Authorization: Bearer <token>
"""

from typing import Any

from django.http import HttpRequest
from ninja import Router
from ninja.security import HttpBearer
from ninja.security.base import AuthBase
from pydantic import Field

from messaging.api.lookups import Lookup
from messaging.api.refusals import REFUSED, Declined, Problem, RefusalOut
from messaging.api.values import Given, Shown, Text, Username
from messaging.overload.allowance import limits
from messaging.protocol.errors import Refusal, Refused
from presence.logins import log_in, sign, user_of
from presence.models import Device, User
from presence.tokens import token_hash

router = Router(tags=["login"])

BY_TOKEN = Lookup(Device, "user", "r.token_hash = %s", known=("id", "is_active"))


class DeviceRequest(HttpRequest):
    """A request of an authenticated device; its `user` is loaded with it."""

    auth: Device


class LoginRequest(HttpRequest):
    """A request of somebody who has just logged in."""

    auth: User


class Bearer(HttpBearer):
    """A device by its token: one query by the hash's unique index."""

    def authenticate(self, request: HttpRequest, token: str) -> Device:
        """Return the device. Raises Refused."""
        device = BY_TOKEN.first(token_hash(token.strip()))
        if device is None or not device.user.is_active:
            raise Refused(Refusal.UNAUTHORIZED)
        if device.revoked is not None:
            raise Refused(Refusal.REVOKED)
        refused = limits().call(device=str(device.pk), user=str(device.user_id))
        if refused is not None:
            raise refused
        return device


class Login(AuthBase):
    """A user by the value that /api/login gave."""

    openapi_type = "apiKey"
    openapi_name = "Authorization"
    openapi_in = "header"
    openapi_description = "`Login <value of /api/login>`"

    def __call__(self, request: HttpRequest) -> Any:
        """Return the user, or None if there is no such header. Raises Refused."""
        scheme, _, proof = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "login":
            return None
        user = user_of(proof.strip())
        if user is None:
            raise Refused(Refusal.UNAUTHORIZED)
        return user


class LoginIn(Given):
    username: Username
    password: Text = Field(max_length=1024)


class LoginOut(Shown):
    login: str = Field(description="For `Authorization: Login …` on POST /api/devices; 5 minutes.")
    user: str


@router.post("/login", auth=None, response={200: LoginOut, REFUSED: RefusalOut})
def login(request: HttpRequest, given: LoginIn) -> LoginOut:
    """Prove a password. Ten wrong ones of a user name from an address in a minute: `overloaded`."""
    user = log_in(
        username=given.username,
        password=given.password,
        address=request.META.get("REMOTE_ADDR", ""),
    )
    if user is None:
        raise Declined(Problem.WRONG_PASSWORD)
    return LoginOut(login=sign(user), user=str(user.pk))
