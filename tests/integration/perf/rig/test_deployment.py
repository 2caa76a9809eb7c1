"""Of a deployment those processes are measured that are a Lockstep's, on this machine, at its port: nobody else's."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from perf.fixtures import environment_proc
from perf.measure.services import valkey_pid
from perf.rig.environment import Crowd, Environment
from project import services
from tests.integration.perf import rig_process

ANOTHER_CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
PASSES_ON = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
"""

place = environment_proc(crowd=Crowd(conversations=0, members=0))


def deployed(url: str) -> Environment:
    """A server that runs already, of which nothing is known but its address."""
    return Environment(url=url, accounts=[], database_url=None)


@pytest.fixture
def port_of_a_proxy() -> Iterator[int]:
    """Where something listens that is no Lockstep, as an SSH tunnel does, or a proxy in front of one."""
    with subprocess.Popen(
        [sys.executable, "-c", PASSES_ON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate()


@pytest.mark.slow
def test_the_processes_of_a_deployment_are_those_that_listen_here(place: Environment) -> None:
    assert deployed(place.url).server_processes() == place.servers[0].workers()


@pytest.mark.slow
def test_a_server_elsewhere_has_no_process_here_whoever_listens_on_its_port(
    place: Environment,
) -> None:
    port = urlsplit(place.url).port
    assert deployed(f"http://192.0.2.1:{port}").server_processes() == []


def test_who_passes_on_what_comes_is_not_the_server(port_of_a_proxy: int) -> None:
    assert deployed(f"http://127.0.0.1:{port_of_a_proxy}").server_processes() == []


@pytest.fixture
def valkey_in_a_container(services_directory: Path, tmp_path: Path) -> Iterator[str]:
    """The address of one that has processes of its own."""
    if subprocess.run([*ANOTHER_CONTAINER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody have processes of their own")
    program = str(services.locate(services_directory).home.valkey_server)
    socket = tmp_path / "valkey.sock"
    options = ("--port", "0", "--save", "", "--unixsocket", str(socket))
    command = [*ANOTHER_CONTAINER, program, *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as container:
        try:
            rig_process.eventually(socket.exists, container.poll)
            yield f"unix://{socket}"
        finally:
            container.kill()


async def test_the_number_that_a_valkey_in_a_container_says_is_nobody_s_here(
    valkey_in_a_container: str,
) -> None:
    async with Redis.from_url(valkey_in_a_container) as client:
        said = (await client.info("server"))["process_id"]
        assert said == 1  # of this machine's that is the first, and all others are its children
        assert await valkey_pid(client) is None
