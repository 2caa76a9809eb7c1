"""The whole of compose.yaml without containers: two servers, HAProxy and Prometheus, on the files in deploy/.

One server is uvicorn, the other Daphne. HAProxy and Prometheus are Debian's; `bin/servers` installs them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from project import services

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PATIENCE_S = 120.0  # reached only when a promise is broken
LAME_DUCK_S = 2  # HAProxy asks every half second and believes the second answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def needed(program: str) -> str:
    """The program's path. Without it the test is skipped, but fails where CI says that all is there."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None and os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{program} is not installed, though this is CI: run bin/servers.")
    if found is None:
        pytest.skip(f"{program} is not installed: run bin/servers")
    return found


def fetch(url: str, *, method: str = "GET") -> tuple[int, str]:
    """Status and body, whatever the status. Raises OSError when nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as it:
            return it.status, it.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def await_true(look: Callable[[], object], what: object = "") -> Any:
    """Look until it is true; readiness only."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError):
            if found := look():
                return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_S:g} s: {what or look}")
        time.sleep(0.1)


@dataclass
class App:
    """One `serve` with one process, that can be ended and started again on its port."""

    name: str
    kind: str
    environment: dict[str, str]
    log: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker(self) -> psutil.Process:
        """The process that holds the sockets."""
        assert self.process is not None
        (worker,) = psutil.Process(self.process.pid).children()
        return worker

    def start(self) -> None:
        options = ["--processes", "1", "--server", self.kind, "--lame-duck", str(LAME_DUCK_S)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--no-migrate", "--no-spare", "--port", str(self.port), *options],
                cwd=ROOT,
                env=os.environ | self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def ready(self) -> bool:
        return fetch(f"{self.url}/readyz")[0] == 200

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@dataclass
class Stack:
    """What runs, and where it answers."""

    directory: Path
    apps: dict[str, App]
    proxy: int
    operators: str
    prometheus: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy}"

    def up(self, backend: str = "ready") -> set[str]:
        """The servers that HAProxy counts as up."""
        rows = fetch(f"{self.operators}/;csv")[1].splitlines()
        found = (row.split(",") for row in rows if row.startswith(f"{backend},app"))
        return {row[1] for row in found if row[17].startswith("UP")}

    def whole(self) -> bool:
        """Whether both servers are ready, for themselves and then for HAProxy."""
        return all(app.ready() for app in self.apps.values()) and self.up() == set(self.apps)

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers. Raises AssertionError for what is no expression."""
        query = urllib.parse.urlencode({"query": expression})
        status, answer = fetch(f"{self.prometheus}/api/v1/query?{query}")
        assert status == 200, answer
        return list(json.loads(answer)["data"]["result"])

    def alerts(self) -> dict[str, str]:
        """The state of each alert that is pending or firing."""
        answer = json.loads(fetch(f"{self.prometheus}/api/v1/alerts")[1])
        return {one["labels"]["alertname"]: one["state"] for one in answer["data"]["alerts"]}


@contextlib.contextmanager
def running(directory: Path, work: Path) -> Iterator[Stack]:
    """Everything, ready, until the block ends; `directory` is of a running PostgreSQL and Valkey."""
    haproxy, prometheus = needed("haproxy"), needed("prometheus")
    places = services.locate(directory)
    own = {
        "DATABASE_URL": places.database_url,
        "REDIS_URL": places.redis_url,
        "LOCKSTEP_DATA": str(directory),
        "DEBUG": "0",
        "LOG_FORMAT": "json",
        "TRUSTED_PROXIES": "127.0.0.1",
    }
    kinds = {"app1": "uvicorn", "app2": "daphne"}
    apps = {name: App(name, kind, own, work / f"{name}.log") for name, kind in kinds.items()}
    ports = [free_port() for _ in range(3)]
    with contextlib.ExitStack() as ending:
        for app in apps.values():
            app.start()
            ending.callback(app.stop)
        where = {name.upper(): f"127.0.0.1:{app.port}" for name, app in apps.items()}
        where |= {"LISTEN": f":::{ports[0]}", "OPERATORS": f"127.0.0.1:{ports[1]}"}
        _begin(ending, work, where, haproxy, "-f", str(DEPLOY / "haproxy.cfg"))
        config = _watching(work, apps, ports[1])
        listen = f"--web.listen-address=127.0.0.1:{ports[2]}"
        storage = f"--storage.tsdb.path={work / 'tsdb'}"
        _begin(ending, work, {}, prometheus, f"--config.file={config}", storage, listen)
        stack = Stack(
            directory=directory,
            apps=apps,
            proxy=ports[0],
            operators=f"http://127.0.0.1:{ports[1]}",
            prometheus=f"http://127.0.0.1:{ports[2]}",
        )
        await_true(stack.whole, "both servers are ready")
        yield stack


def _begin(
    ending: contextlib.ExitStack, work: Path, environment: dict[str, str], *command: str
) -> None:
    with (work / f"{Path(command[0]).name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT
        )
    ending.callback(process.wait, PATIENCE_S)
    ending.callback(process.terminate)


def _watching(work: Path, apps: dict[str, App], operators: int) -> Path:
    """A copy of Prometheus' configuration beside targets of our own; nothing else differs."""
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(DEPLOY / name, work / name)
    (work / "targets").mkdir()
    targets = {
        "lockstep": [f"127.0.0.1:{app.port}" for app in apps.values()],
        "haproxy": [f"127.0.0.1:{operators}"],
    }
    for job, addresses in targets.items():
        (work / "targets" / f"{job}.yml").write_text(json.dumps([{"targets": addresses}]))
    return work / "prometheus.yml"
