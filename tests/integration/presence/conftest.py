"""Server processes, as far as the roster knows."""

from collections.abc import AsyncIterator

import pytest

from presence.roster import Roster


@pytest.fixture
async def roster(shared_database: None) -> AsyncIterator[Roster]:
    """A server process."""
    made = Roster()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def other(shared_database: None) -> AsyncIterator[Roster]:
    """Another server process."""
    made = Roster()
    await made.start()
    yield made
    await made.stop()
