"""Logins: a password gives a signed proof, good for five minutes, that registers devices.

Wrong passwords are counted by user name and address (see `attempts`), so that guessing is slow.
"""

from django.contrib.auth import authenticate
from django.core import signing

from presence.attempts import Guesses, source
from presence.models import User

PROOF_S = 300  # long enough to name a device, short enough to be worthless in a log
SALT = "presence.login"
WRONG = Guesses(name="login", what="wrong passwords")


def log_in(*, username: str, password: str, address: str) -> User | None:
    """Return the user if the password is right. Raises attempts.TooMany, without a look at it."""
    who = (username, source(address))
    WRONG.check(*who)
    user = authenticate(username=username, password=password)
    if isinstance(user, User):
        return user
    WRONG.count(*who)
    return None


def sign(user: User) -> str:
    """Return the proof that the user logged in just now."""
    return signing.dumps(str(user.pk), salt=SALT)


def user_of(proof: str) -> User | None:
    """Return the active user who logged in, or None if the proof is forged or too old."""
    try:
        key = signing.loads(proof, salt=SALT, max_age=PROOF_S)
    except signing.BadSignature:
        return None
    return User.objects.filter(pk=key, is_active=True).first()
