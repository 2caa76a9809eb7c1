"""A host of its own on this machine: a network namespace behind a veth pair (ip-netns(8), veth(4)). As root only.

It shares the files and the processes of this machine, not the network: what it says crosses the pair.
A cut is silent, as behind a switch that lost power: both ends keep their carrier, and send to nobody
(a neighbour entry with an address that no card has). A host is named after the run's directory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perf.rig.children import RigError

NOBODY = "02:00:00:00:00:fe"  # locally administered, of no card
THEIRS = "uplink"  # the host's end of the pair
WIDTH = 30  # of the network: the two addresses of the pair
NETWORKS = 1 << 14  # of four addresses each in 10.231.0.0/16


@dataclass(frozen=True, kw_only=True)
class Host:
    """`address` is its own, `gateway` is this machine's towards it; `number` tells it from those of other runs."""

    name: str
    number: int

    @property
    def address(self) -> str:
        """Its own."""
        return _address(self.number, 2)

    @property
    def gateway(self) -> str:
        """This machine's, as it sees it."""
        return _address(self.number, 1)

    @property
    def command(self) -> tuple[str, ...]:
        """What a command line begins with that is to run there."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        """Nothing passes any more, in either direction; nobody is told. Raises RigError."""
        _ip("neigh", "replace", self.address, "lladdr", NOBODY, "nud", "permanent", "dev", self._ours)  # fmt: skip
        self._inside("neigh", "replace", self.gateway, "lladdr", NOBODY, "nud", "permanent", "dev", THEIRS)  # fmt: skip

    def join(self) -> None:
        """Everything passes again. Raises RigError."""
        _ip("neigh", "del", self.address, "dev", self._ours)
        self._inside("neigh", "del", self.gateway, "dev", THEIRS)

    def _make(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self._ours, "type", "veth", "peer", "name", THEIRS, "netns", self.name)  # fmt: skip
        _ip("addr", "add", f"{self.gateway}/{WIDTH}", "dev", self._ours)
        _ip("link", "set", self._ours, "up")
        self._inside("addr", "add", f"{self.address}/{WIDTH}", "dev", THEIRS)
        for device in (THEIRS, "lo"):
            self._inside("link", "set", device, "up")

    def _inside(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)

    @property
    def _ours(self) -> str:
        return f"lockstep{self.number}"  # at most 15 characters


@asynccontextmanager
async def host(directory: Path) -> AsyncIterator[Host]:
    """A host for the run of this directory; gone afterwards. Raises RigError."""
    one = Host(name=directory.name, number=os.getpid() % NETWORKS)
    try:
        await asyncio.to_thread(one._make)
        yield one
    finally:
        await asyncio.to_thread(forget, directory)


def forget(directory: Path) -> None:
    """Remove the host of a run, if there is one, and the pair: the kernel ends a namespace, and what is in it, a little later."""
    with suppress(RigError):  # it has no pair, or there is no host, or no ip(8)
        _ip("-n", directory.name, "link", "del", THEIRS)
    with suppress(RigError):
        _ip("netns", "del", directory.name)


def why_not() -> str:
    """Why there can be none here; nothing if there can."""
    if os.geteuid():
        return "only root can make network namespaces"
    trial = Path(f"lockstep-trial-{os.getpid()}")
    try:
        _ip("netns", "add", trial.name)
    except RigError as error:
        return str(error)
    forget(trial)
    return ""


def _address(number: int, last: int) -> str:
    return f"10.231.{number >> 6}.{(number & 63) * 4 + last}"


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise RigError(f"ip(8) can't be run: {error}; install iproute2") from None
    if done.returncode:
        raise RigError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
