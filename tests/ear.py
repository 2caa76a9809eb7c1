"""An ear for NOTIFY: what a writer's commits hinted at."""

import contextlib
from collections.abc import Callable, Iterator
from uuid import uuid4

from tests.scene import Psql

NOTIFY_LIMIT_S = 10  # far above any real delay: reached only when a hint is missing


@contextlib.contextmanager
def listening(ear: Psql, writer: Psql) -> Iterator[Callable[[], list[str]]]:
    """What was notified since the last call, sorted; every committed write before it is included."""
    ear.execute("LISTEN lockstep")

    def collect() -> list[str]:
        fence = f"fence.{uuid4()}"
        writer.execute("SELECT pg_notify('lockstep', %s)", [fence])
        payloads: list[str] = []
        for notice in ear.notifies(timeout=NOTIFY_LIMIT_S):
            if notice.payload == fence:
                return sorted(payloads)
            if not notice.payload.startswith("fence."):
                payloads.append(notice.payload)
        raise AssertionError(f"no fence after {NOTIFY_LIMIT_S} s; heard {payloads}")

    yield collect
