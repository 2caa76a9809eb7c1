"""What groups of processes use: of real processes, this one and a child."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeAlias

import psutil
import pytest

from perf.load.probe import Resources
from perf.measure.processes import ProcessGroups

Child: TypeAlias = "subprocess.Popen[bytes]"
SPIN = """
import sys, time
for _ in sys.stdin:
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    print(flush=True)
"""
# The same work, but each time in a child that is gone afterwards, as PostgreSQL's backends are.
FORK = """
import os, sys, time
for _ in sys.stdin:
    if not os.fork():
        while time.process_time() < 0.3: pass
        os._exit(0)
    os.wait()
    print(flush=True)
"""


class Closed(psutil.Process):
    """A process of another account, which tells no more than its times and its memory."""

    def num_fds(self) -> int:
        raise psutil.AccessDenied(self.pid)

    memory_full_info = num_fds


@contextmanager
def running(program: str) -> Iterator[Child]:
    """A process that works when it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def child() -> Iterator[Child]:
    """A process that burns CPU when it is told to."""
    with running(SPIN) as process:
        yield process


def burn(child: Child) -> None:
    """Let it burn 0.3 s of CPU, and wait until it has."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"go\n")
    child.stdin.flush()
    assert child.stdout.readline()


def test_cpu_is_what_was_used_since_the_last_look(child: Child) -> None:
    look = ProcessGroups({"child": lambda: [psutil.Process(child.pid)], "nobody": list})
    assert "child.cpu_percent" not in look()
    burn(child)
    busy = look()
    assert busy["child.cpu_percent"] > 5
    assert "nobody.cpu_percent" not in busy  # it is not idle: nothing is known of it
    assert busy["nobody.processes"] == 0


def test_the_cpu_of_members_that_have_ended_is_their_group_s_and_not_that_of_others() -> None:
    with running(FORK) as parent:
        group = {"group": lambda: [psutil.Process(parent.pid)]}
        look, resources = ProcessGroups(group), Resources(group)
        before = look()
        assert before["group.processes"] == 1
        began = perf_counter()
        asyncio.run(_measured(resources, parent))
        passed = perf_counter() - began
        after = look()
    assert after["group.cpu_percent"] * passed > 20  # 0.3 s, in % of a core
    assert resources.usage["group"].cpu_percent * passed > 20
    assert after["group.busiest_percent"] * passed < 20  # no process of now has done it


async def _measured(resources: Resources, parent: Child) -> None:
    async with resources.measured():
        burn(parent)


def test_who_tells_only_its_times_and_memory_is_counted_with_these(child: Child) -> None:
    look = ProcessGroups({"child": lambda: [Closed(child.pid)]})
    look()
    burn(child)
    found = look()
    assert found["child.cpu_percent"] > 5
    assert found["child.rss_mb"] > 1
    assert "child.descriptors" not in found


def test_memory_threads_descriptors_and_sockets_are_counted() -> None:
    me = psutil.Process(os.getpid())
    before = ProcessGroups({"me": lambda: [me]})()
    assert before["me.processes"] == 1
    assert before["me.rss_mb"] > before["me.uss_mb"] > 1
    assert before["me.threads"] >= 1
    with socket.socket(), socket.socket():
        after = ProcessGroups({"me": lambda: [me]})()
    assert after["me.descriptors"] - before["me.descriptors"] == 2
    assert after.get("me.sockets", 2) - before.get("me.sockets", 0) == 2


def test_a_process_that_is_gone_is_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        gone = psutil.Process(process.pid)
    found = ProcessGroups({"gone": lambda: [gone]})()
    assert {name for name in found if name.startswith("gone.")} == {"gone.processes"}
    assert found["gone.processes"] == 0


def test_the_cpu_of_others_is_what_no_group_used(child: Child) -> None:
    look = ProcessGroups({})
    look()
    burn(child)
    assert look()["others.cpu_percent"] > 5
