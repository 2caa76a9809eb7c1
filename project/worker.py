"""One server process of `manage.py serve`: an ASGI server on a socket of its own.

It owns SIGTERM: it stops listening, drains the engine (commit, ack, goodbye), and only then lets
the server close what is left. It says on one pipe that it is ready, and ends the same way when
the other pipe says that its parent is gone. SIGINT is the parent's business.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable

import psycopg

from project import ports
from project.limits import DRAIN_S, WARM_UP_S

logger = logging.getLogger(__name__)

SERVERS = ("uvicorn", "daphne")


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=SERVERS, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True, help="written when ready")
    parser.add_argument("--parent-fd", type=int, required=True, help="ends when the parent does")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def ready() -> None:
        # What is loaded now stays: without this each full collection walks all of Django, and
        # messages wait for 30 ms meanwhile.
        gc.collect()
        gc.freeze()
        os.write(options.ready_fd, b"1")
        os.close(options.ready_fd)

    run = _run_uvicorn if options.server == "uvicorn" else _run_daphne
    run(ports.listen(options.host, options.port), ready, options.parent_fd)


def on_end(loop: asyncio.AbstractEventLoop, parent_fd: int, end: Callable[[], None]) -> None:
    """Call `end` once, at SIGTERM or when the parent has closed its end of the pipe."""

    def once() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_reader(parent_fd)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent's patience ends with SIGKILL
        end()

    loop.add_signal_handler(signal.SIGTERM, once)
    loop.add_reader(parent_fd, once)


async def warm_up() -> None:
    """Start the engine of this process before anyone waits for it.

    Without a database the first hello starts it, and is told so; nothing is raised here.
    """
    from messaging import engine

    try:
        async with asyncio.timeout(WARM_UP_S):
            await engine.running()
    except (psycopg.Error, TimeoutError) as error:
        logger.warning("this process begins without the database: %s", error or "no answer yet")


async def drain() -> None:
    """Let the engine of this process commit, ack and say goodbye; never raises."""
    from messaging import engine

    await engine.drain(DRAIN_S)


def _run_uvicorn(listener: socket.socket, ready: Callable[[], None], parent_fd: int) -> None:
    import uvloop

    from project.uvicorn_server import Server, config

    server = Server(config(), warm_up=warm_up, drain=drain, ready=ready)

    async def serve() -> None:
        on_end(asyncio.get_running_loop(), parent_fd, server.begin_end)
        await server.serve(sockets=[listener])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _run_daphne(listener: socket.socket, ready: Callable[[], None], parent_fd: int) -> None:
    from project.daphne_server import run

    run(
        listener,
        warm_up=warm_up,
        drain=drain,
        ready=ready,
        on_end=lambda loop, end: on_end(loop, parent_fd, end),
    )


if __name__ == "__main__":
    main()
