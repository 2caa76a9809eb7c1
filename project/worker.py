"""One server process of `manage.py serve`: an ASGI server on a socket of its own.

It owns SIGTERM: it says on `/readyz` that it is about to end, serves on for as long as load balancers need
to hear it, then stops listening, drains the engine (commit, ack, goodbye), and only then lets the
server close what is left. It says on one pipe that it is ready, and ends, without that wait, when the
other pipe says that its parent is gone. SIGINT is the parent's business.
"""

import argparse
import asyncio
import gc
import importlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial

import psycopg

from project import memory, ports
from project.limits import BACKLOG, DRAIN_S, WARM_UP_S

logger = logging.getLogger(__name__)

SERVERS = ("uvicorn", "daphne")

Ender = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], None]


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=SERVERS, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lame-duck", type=float, required=True, help="seconds")
    parser.add_argument("--ready-fd", type=int, required=True, help="written when ready")
    parser.add_argument("--parent-fd", type=int, required=True, help="ends when the parent does")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def ready() -> None:
        # What is loaded now stays: without this each full collection walks all of Django, and
        # messages wait for 30 ms meanwhile.
        gc.collect()
        gc.freeze()
        memory.begin()
        os.write(options.ready_fd, b"1")
        os.close(options.ready_fd)

    run = _run_uvicorn if options.server == "uvicorn" else _run_daphne
    end = partial(on_end, parent_fd=options.parent_fd, lame_duck_s=options.lame_duck)
    run(ports.join(options.host, options.port), ready, end)


def on_end(
    loop: asyncio.AbstractEventLoop,
    end: Callable[[], None],
    *,
    parent_fd: int,
    lame_duck_s: float,
) -> None:
    """Call `end` once: `lame_duck_s` after SIGTERM, or when the parent has closed its end of the pipe."""
    ending: list[asyncio.TimerHandle] = []

    def leave() -> None:
        from messaging import health  # loaded by now: the server imports the application first

        ignore_sigterm()
        health.process.leave()
        ending.append(loop.call_later(lame_duck_s, once))

    def once() -> None:
        for timer in ending:
            timer.cancel()
        ignore_sigterm()
        loop.remove_reader(parent_fd)
        end()

    def ignore_sigterm() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent's patience ends with SIGKILL

    loop.add_signal_handler(signal.SIGTERM, leave)
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
    from messaging import engine, health

    await engine.drain(DRAIN_S)
    await health.process.close()


def _run_uvicorn(listener: socket.socket, ready: Callable[[], None], end: Ender) -> None:
    import uvloop

    from project.uvicorn_server import Server, config

    server = Server(config(), warm_up=warm_up, drain=drain, ready=ready)

    async def serve() -> None:
        end(asyncio.get_running_loop(), server.begin_end)
        await server.serve(sockets=[listener])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def _run_daphne(listener: socket.socket, ready: Callable[[], None], end: Ender) -> None:
    from project.daphne_server import run  # first of all: it installs the reactor

    importlib.import_module("project.asgi")  # a second, for which nobody shall wait
    listener.listen(BACKLOG)  # Daphne takes only a socket that listens
    run(listener, warm_up=warm_up, drain=drain, ready=ready, on_end=end)


if __name__ == "__main__":
    main()
