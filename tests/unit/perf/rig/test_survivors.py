"""What no server may do in a run is noticed: to end, and to write a stack trace."""

import subprocess
import sys
from pathlib import Path

from perf.rig.environment import Environment
from perf.rig.server import free_port
from perf.rig.survivors import Survivors

LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(flush=True)
sys.stdin.read()
"""
TRACE = """it goes on
Traceback (most recent call last):
  File "x.py", line 1, in x
    fall()
ValueError: it fell
it goes on
"""


def place(port: int, logs: Path) -> Environment:
    return Environment(url=f"http://127.0.0.1:{port}", accounts=[], database_url=None, logs=logs)


def test_a_server_that_ends_is_named(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", LISTEN, str(port), "project.worker"]  # as a server's would be
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        survivors = Survivors(place(port, tmp_path))
        assert survivors.problems() == []
        process.kill()
        process.wait()
    assert survivors.problems() == ["1 processes of the server ended during the run"]


def test_a_stack_trace_is_named_with_its_error(tmp_path: Path) -> None:
    survivors = Survivors(place(free_port(), tmp_path))
    (tmp_path / "server.log").write_text("WARNING it was slow\n")
    assert survivors.problems() == []
    (tmp_path / "server-inspected.log").write_text(TRACE + TRACE)
    (tmp_path / "postgres.log").write_text(TRACE)
    (problem,) = survivors.problems()
    assert problem == (
        "the server wrote 2 stack traces into server-inspected.log, the first: ValueError: it fell"
    )


def test_a_stack_trace_of_a_second_server_is_named_too(tmp_path: Path) -> None:
    survivors = Survivors(place(free_port(), tmp_path))
    (tmp_path / "second.log").write_text(TRACE)
    (tmp_path / "leak.log").write_text(TRACE)  # of one that was broken on purpose
    (problem,) = survivors.problems()
    assert (
        problem == "the server wrote 1 stack traces into second.log, the first: ValueError: it fell"
    )
