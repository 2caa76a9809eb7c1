"""Frames that no client sends end no session but the one that sent them; `python -m tests.fuzz` sends a million."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests import fuzz, fuzz_socket, scene
from tests.integration.conftest import shared_database  # noqa: F401  (a fixture)
from tests.mutator import Mutator
from tests.server import Server

MIB = 2**20


def test_the_same_seed_gives_the_same_messages() -> None:
    """So that what was found is found again."""
    one, other = (Mutator(7) for _ in range(2))
    for codec in (fuzz.JSON, fuzz.MSGPACK) * 50:
        assert one.message(codec) == other.message(codec)


def test_a_few_frames_reach_every_answer() -> None:
    heard = fuzz.run(frames=3_000, seed=1).heard
    assert {"error", "ok", "pong", "events", "presence", "goodbye"} <= set(heard)


@pytest.mark.long
def test_no_frame_crashes_hangs_or_bloats_a_session() -> None:
    fuzz.run(frames=10_000, seed=0)
    before = fuzz.memory_mib()
    fuzz.run(frames=60_000, seed=20_261_121)
    assert fuzz.memory_mib() - before < 16


@pytest.mark.long
@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
def test_a_server_goes_on_answering_and_logs_no_error(
    kind: str,
    shared_database: None,  # noqa: F811
    redis_url: str,
    tmp_path: Path,
) -> None:
    log = tmp_path / "serve.log"
    own = {"DATABASE_URL": scene.database_url(), "REDIS_URL": redis_url}
    server = Server(kind, own, log=log)
    try:
        with scene.connect() as sql:
            seat = scene.new_room(sql).first
        url = f"ws://127.0.0.1:{server.port}/ws/"
        fuzz_socket.through(url, seat.token, frames=300, seed=1)  # what is loaded on the way
        worker = psutil.Process(server.worker.pid)
        before = worker.memory_info().rss
        fuzz_socket.through(url, seat.token, frames=1_500, seed=2)
        assert worker.is_running()
        assert worker.memory_info().rss - before < 48 * MIB
    finally:
        server.stop()
    said = log.read_text()
    assert "Traceback" not in said, said[-3_000:]
    assert " ERROR " not in said, said[-3_000:]
