"""A host of its own is reached over its own network, and a cut of that is silent."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perf.rig import cleanup, hosts
from perf.rig.cleanup import Leftover
from perf.rig.hosts import NETWORKS, Host

as_root = pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not())

# A program there that says one line to this machine for each that it is told.
CALLER = """
import socket, sys
for line in sys.stdin:
    try:
        socket.create_connection(tuple(line.split()), timeout=0.4).close()
        print("connected", flush=True)
    except TimeoutError:
        print("silence", flush=True)
    except OSError as error:
        print(error, flush=True)
"""


async def called(one: Host, caller: asyncio.subprocess.Process, port: int) -> str:
    """What the host hears of a call to this machine."""
    assert caller.stdin is not None
    assert caller.stdout is not None
    caller.stdin.write(f"{one.gateway} {port}\n".encode())
    return (await caller.stdout.readline()).decode().strip()


@as_root
async def test_a_host_hears_nothing_while_it_is_cut_off_and_all_again_when_it_is_joined(
    tmp_path: Path,
) -> None:
    directory = tmp_path / f"lockstep-test-{tmp_path.parent.name}"
    async with hosts.host(directory) as one:
        server = await asyncio.start_server(lambda _, writer: writer.close(), one.gateway, 0)
        port = server.sockets[0].getsockname()[1]
        pipe = asyncio.subprocess.PIPE
        caller = await asyncio.create_subprocess_exec(
            *one.command, sys.executable, "-c", CALLER, stdin=pipe, stdout=pipe
        )
        heard = [await called(one, caller, port)]
        one.cut()
        heard.append(await called(one, caller, port))
        one.join()
        heard.append(await called(one, caller, port))
        assert heard == ["connected", "silence", "connected"]
        caller.kill()
        await caller.wait()
        server.close()
        await server.wait_closed()


@as_root
@pytest.mark.slow
async def test_one_host_may_follow_another_at_once(tmp_path: Path) -> None:
    """The kernel took a while to end the first one's network, and the second one's has the same name."""
    for n in range(10):
        async with hosts.host(tmp_path / f"lockstep-test-{os.getpid()}-{n}"):
            pass


@as_root
@pytest.mark.slow
def test_cleanup_removes_the_host_of_a_run_whose_keeper_was_killed_too(tmp_path: Path) -> None:
    directory = tmp_path / f"{cleanup.PREFIX}{os.getpid()}"
    directory.mkdir()
    try:
        Host(name=directory.name, number=os.getpid() % NETWORKS)._make()
        cleanup.remove(Leftover(directory=directory, processes=()))
        listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True)
        assert directory.name not in listed.stdout
    finally:
        hosts.forget(directory)


def test_where_there_is_no_ip_there_is_no_host_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    hosts.forget(tmp_path / "run")
