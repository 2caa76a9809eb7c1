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


@pytest.fixture
def ran(roster: Roster, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that the roster ran."""
    made: list[str] = []
    ask = roster._line.ask_now

    async def counting(
        statement: str, parameters: tuple[object, ...] = ()
    ) -> list[tuple[object, ...]]:
        made.append(statement)
        return await ask(statement, parameters)

    monkeypatch.setattr(roster._line, "ask_now", counting)
    return made
