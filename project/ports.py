"""TCP ports that several server processes share.

Every process listens on a socket of its own, and the kernel spreads the connections
(SO_REUSEPORT, socket(7)). So that two `serve`s never share a port by accident, `reserve` binds it first,
alone, and only then lets others of the same user join; it never listens itself.
"""

import errno
import socket

from project.errors import ServiceError

FIRST = 8000
TRIES = 100


def reserve(host: str, port: int | None) -> socket.socket:
    """Bind `port`, or the first free one from FIRST on when it is None.

    Raises ServiceError when the port, or every port that was tried, is taken.
    """
    wanted = [port] if port is not None else range(FIRST, FIRST + TRIES)
    for number in wanted:
        try:
            return _alone(host, number)
        except OverflowError:
            raise ServiceError(f"Port {number} is none: choose one from 1 to 65535.") from None
        except PermissionError:
            raise ServiceError(f"Port {number} is for root only: choose one above 1023.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ServiceError(f"Can't serve on {host}: {error.strerror}.") from None
    if port is not None:
        raise ServiceError(f"Port {port} is in use: end what uses it, or choose another --port.")
    raise ServiceError(f"Ports {FIRST} to {FIRST + TRIES - 1} are all in use: give a --port.")


def join(host: str, port: int) -> socket.socket:
    """Return a socket of this process on a port that is reserved; it does not listen yet.

    Its server listens once it can serve: the kernel gives a share of all connections to whoever
    listens, and they would wait for a process that is still starting while others are idle.
    """
    listener = _socket(host)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.setblocking(False)  # noqa: FBT003 - the name says it
    return listener


def _alone(host: str, port: int) -> socket.socket:
    holder = _socket(host)
    try:
        # During bind, reuse ignores connections that are fading out, but not other listeners.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except BaseException:
        holder.close()
        raise
    return holder


def _socket(host: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    except socket.gaierror:
        raise ServiceError(f"There is no address {host}: correct --host.") from None
    # With the protocol named, asyncio and uvloop switch Nagle's algorithm off.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
