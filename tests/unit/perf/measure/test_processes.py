"""What groups of processes use: of real processes, this one and a child."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import TypeAlias

import psutil
import pytest

from perf.measure.processes import ProcessGroups

Child: TypeAlias = "subprocess.Popen[bytes]"
SPIN = """
import sys, time
for _ in sys.stdin:
    end = time.process_time() + 0.3
    while time.process_time() < end: pass
    print(flush=True)
"""


@pytest.fixture
def child() -> Iterator[Child]:
    """A process that burns CPU when it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


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
    assert busy["nobody.cpu_percent"] == 0
    assert busy["nobody.processes"] == 0


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
