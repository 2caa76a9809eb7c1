"""Link codes: a signed-in device vouches for a new one, which then needs no password.

A code is 40 random bits, good for two minutes and one device, by database time. Guessing takes years
at ten wrong codes a minute from an address; only a keyed hash of it is stored. A revoked device, or
one of an inactive user, vouches for nobody, also with the codes that it got before.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Min, QuerySet
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from presence import database
from presence.attempts import Guesses, TooMany, source
from presence.models import Device, LinkCode
from presence.tokens import register

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: nothing to be confused
LENGTH = (
    8  # 40 bits: with 10 live codes, 1,000 addresses at 10 guesses a minute need 20 years for one
)
LIVE = 5  # codes of one user that wait for a device
WRONG = Guesses(name="link", what="wrong link codes")

_READ_AS = str.maketrans("OIL", "011", "- \t")  # what people make of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """A fresh code, shown once as XXXX-XXXX."""

    code: str = field(repr=False)
    expires: datetime


def issue(device: Device) -> Issued:
    """Return a code that links one device to the user of this one. Raises attempts.TooMany, and OperationalError as `tokens.register`.

    That the device may speak for its user is the caller's affair; it is looked at again on redemption.
    """
    code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    with database.brief():
        _lock_user(device)  # or two requests would both be the fifth
        waiting = LinkCode.objects.filter(issuer__user=device.user_id, used=None)
        waiting.filter(expires__lte=Now()).delete()
        _refuse_too_many(waiting)
        stored = LinkCode.objects.create(issuer=device, code_hash=code_hash(code))
    return Issued(code=f"{code[:4]}-{code[4:]}", expires=stored.expires)


def redeem(
    *, code: str, address: str, installation: str, name: str = "", platform: str = ""
) -> tuple[Device, str] | None:
    """Register a device with a code, as `tokens.register` does; None if the code opens nothing (any more).

    Unknown, used and expired codes cost the same statement and count alike against the address.
    Raises attempts.TooMany, without a look at the code, and tokens.DeviceRevoked, which leaves it unused.
    """
    with WRONG.guess(source(address)) as guess, database.brief():
        link = _open(code)
        if link is None:
            guess.wrong()
            return None
        device, token = register(
            user=link.issuer.user, installation=installation, name=name, platform=platform
        )
        link.used, link.redeemed_by = Now(), device
        link.save(update_fields=["used", "redeemed_by"])
    return device, token


def code_hash(code: str) -> bytes:
    """Return the 32 bytes under which the code is stored, however it was typed.

    HMAC with the site's key: 40 bits under a plain hash are guessed in minutes by whoever reads the table.
    """
    typed = code.upper().translate(_READ_AS)
    return salted_hmac("presence.links", typed, algorithm="sha256").digest()


def _open(code: str) -> LinkCode | None:
    """Lock the code if it opens something: of those who come at once, the others find it used.

    Its issuer is locked, too: a revocation waits for this registration, or it comes first.
    """
    found = LinkCode.objects.select_related("issuer__user").filter(
        code_hash=code_hash(code),
        used=None,
        expires__gt=Now(),
        issuer__revoked=None,
        issuer__user__is_active=True,
    )
    return found.select_for_update(of=("self", "issuer"), no_key=True).first()


def _lock_user(device: Device) -> None:
    mine = Device.objects.select_related("user").filter(pk=device.pk)
    mine.select_for_update(of=("user",), no_key=True).get()


def _refuse_too_many(waiting: QuerySet[LinkCode]) -> None:
    found = waiting.aggregate(count=Count("pk"), wait=Min("expires") - Now())
    if found["count"] >= LIVE:
        wait: timedelta = found["wait"]
        raise TooMany(what="unused link codes", retry_after=-(-wait // timedelta(milliseconds=1)))
