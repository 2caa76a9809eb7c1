"""Logins: a password gives a signed proof, good for five minutes and for that password, that registers devices.

Wrong passwords are counted by user name and address, and by address alone (see `attempts`), so that guessing
is slow, also through the admin.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from django.contrib.auth import authenticate
from django.core import signing
from django.utils.crypto import constant_time_compare

from presence.attempts import Guess, Guesses, TooMany, source
from presence.models import User

PROOF_S = 300  # long enough to name a device, short enough to be worthless in a log
SALT = "presence.login"
WRONG = Guesses(name="login", what="wrong passwords")
# One password tried on many users: as many as a large office behind one address mistypes.
SPRAYED = Guesses(name="logins", what="wrong passwords from this address", most=100)

# Each takes a third of a second of a core, and holds one of the pool's eight connections meanwhile: forty at
# once left none for anybody else.
AT_ONCE = 2  # passwords that a process looks at
TURN_S = 5.0  # to wait for one's turn
# As many as have a turn by then. Each is a call under way (`project.gate`), and a hundred strangers who waited were
# nearly all that there may be.
WAITING = 30
_turns = BoundedSemaphore(AT_ONCE)
_places = BoundedSemaphore(AT_ONCE + WAITING)


def log_in(*, username: str, password: str, address: str) -> User | None:
    """Return the user if the password is right. Raises attempts.TooMany, without a look at it."""
    with guess(username=username, address=address) as attempt:
        user = authenticate(username=username, password=password)
        if isinstance(user, User):
            return user
        attempt.wrong()
    return None


@contextmanager
def guess(*, username: str, address: str) -> Iterator[Guess]:
    """Look at a password inside, in turn with others. Raises attempts.TooMany."""
    where = source(address)
    with (
        _held(_places, wait_s=0),
        SPRAYED.guess(where) as sprayed,
        WRONG.guess(username, where) as attempt,
        _held(_turns, wait_s=TURN_S),
    ):
        try:
            yield attempt
        finally:
            sprayed.failed = attempt.failed


@contextmanager
def _held(places: BoundedSemaphore, *, wait_s: float) -> Iterator[None]:
    if not places.acquire(timeout=wait_s):
        raise TooMany(what="logins at once", retry_after=1_000)
    try:
        yield
    finally:
        places.release()


def sign(user: User) -> str:
    """Return the proof that the user logged in just now."""
    return signing.dumps([str(user.pk), user.get_session_auth_hash()], salt=SALT)


def user_of(proof: str) -> User | None:
    """Return the active user who logged in, or None if the proof is forged, too old, or of another password."""
    try:
        key, password = signing.loads(proof, salt=SALT, max_age=PROOF_S)
    except (signing.BadSignature, ValueError):
        return None
    user = User.objects.filter(pk=key, is_active=True).first()
    if user is None or not constant_time_compare(password, user.get_session_auth_hash()):
        return None
    return user
