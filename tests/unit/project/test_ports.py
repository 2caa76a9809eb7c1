"""Ports are shared by the processes of one `serve`, and by nobody else."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from project import ports
from project.errors import ServiceError

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server((HOST, 0)) as other:
        yield other.getsockname()[1]


def test_a_given_port_that_is_taken_is_one_line(taken: int) -> None:
    with pytest.raises(ServiceError, match=f"Port {taken} is in use.*--port"):
        ports.reserve(HOST, taken)


def test_without_a_given_port_the_next_free_one_is_taken() -> None:
    with closing(ports.reserve(HOST, None)) as first, closing(ports.reserve(HOST, None)) as second:
        assert ports.FIRST <= first.getsockname()[1] < second.getsockname()[1]


def test_several_processes_listen_on_a_reserved_port_and_a_second_serve_does_not() -> None:
    with closing(ports.reserve(HOST, 0)) as holder:
        port = holder.getsockname()[1]
        with (
            closing(ports.join(HOST, port)) as one,
            closing(ports.join(HOST, port)) as other,
        ):
            one.listen()
            other.listen()
            with pytest.raises(ServiceError, match="in use"):
                ports.reserve(HOST, port)


def test_a_port_is_free_at_once_after_connections_to_it_were_closed() -> None:
    with closing(ports.reserve(HOST, 0)) as holder:
        port = holder.getsockname()[1]
        with closing(ports.join(HOST, port)) as listener:
            listener.listen()
            client = socket.create_connection((HOST, port))
            listener.setblocking(True)
            served, _ = listener.accept()
            served.close()  # the side that closes first keeps the port in TIME_WAIT
            client.close()
    ports.reserve(HOST, port).close()


def test_an_unknown_host_is_one_line() -> None:
    with pytest.raises(ServiceError, match="--host"):
        ports.reserve("no such host", None)


def test_a_port_that_can_not_be_is_one_line() -> None:
    with pytest.raises(ServiceError, match="Port 80000 is none: choose"):
        ports.reserve(HOST, 80_000)
