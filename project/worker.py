"""One server process of `manage.py serve`: an ASGI server on a socket of its own.

It loads everything, then waits to be told its number; a spare one may wait for ever. It owns SIGTERM: it
says on `/readyz` that it is about to end, serves on for as long as load balancers need to hear it, then
stops listening, drains the engine (commit, ack, goodbye), and only then lets the server close what is left.
It ends, without that wait, when its parent is gone (`child` has the pipes between the two). SIGINT is the
parent's business.
"""

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psycopg

from project import counters, memory, ports
from project.child import LOADED, READY
from project.limits import BACKLOG, DRAIN_S, WARM_UP_S

logger = logging.getLogger(__name__)

SERVERS = ("uvicorn", "daphne")
GENTLE = 10  # sched(7): a tenth of the CPU time of a process that is not
NAME = "lockstep {}"  # of the process in ps and top

Ender = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], None]


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    options = _options()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _take_files()
    counters.reserve()  # before what counts is imported
    _call_oneself("loads")
    load = partial(_load, options.server)
    if options.spare:
        _gently(load)
    else:
        load()
    number = _wait_to_be_called(options)
    if not number:
        return  # the parent is gone
    _call_oneself(number)
    os.environ["PGAPPNAME"] = f"lockstep serve {number}"

    def ready() -> None:
        memory.begin()
        os.write(options.words_fd, READY)
        os.close(options.words_fd)

    run = _run_uvicorn if options.server == "uvicorn" else _run_daphne
    end = partial(on_end, parent_fd=options.parent_fd, lame_duck_s=options.lame_duck)
    run(ports.join(options.host, options.port), ready, end)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=SERVERS, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lame-duck", type=float, required=True, help="seconds")
    parser.add_argument("--words-fd", type=int, required=True, help="takes what it says")
    parser.add_argument("--parent-fd", type=int, required=True, help="ends when the parent does")
    parser.add_argument("--spare", action="store_true", help="load in the background")
    return parser.parse_args()


def _wait_to_be_called(options: argparse.Namespace) -> str:
    """Say that everything is loaded, and wait to be told one's number; none if the parent is gone."""
    _call_oneself("spare")
    os.write(options.words_fd, LOADED)
    return os.read(options.parent_fd, 16).decode()


def _load(server: str) -> None:
    """Import all that will be needed: seconds, for which nobody shall wait."""
    importlib.import_module(f"project.{server}_server")  # first: Daphne's installs the reactor
    importlib.import_module("project.asgi")


def _gently(load: Callable[[], None]) -> None:
    """Call it at a low priority, in a thread: Linux has one for each, and a whole process could not rise again."""

    def lower() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GENTLE)

    with ThreadPoolExecutor(1, initializer=lower) as background:
        background.submit(load).result()


def _take_files() -> None:
    """Have as many open files as the system allows: each socket is one, and most are begun with 1,024, for select(2)'s sake."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a system may have a limit beside its limits
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _call_oneself(what: str) -> None:
    """Tell ps and top which process this is, where the system lets us."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(NAME.format(what))


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
    from project.daphne_server import run

    listener.listen(BACKLOG)  # Daphne takes only a socket that listens
    run(listener, warm_up=warm_up, drain=drain, ready=ready, on_end=end)


if __name__ == "__main__":
    main()
