"""What the tests of the whole share: one site, one Chromium and one page, whichever module asks first."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from selenium.webdriver import Chrome

from project import services
from tests.acceptance.browser import started
from tests.acceptance.page import Desk, Device
from tests.acceptance.site import Serving, serving
from tests.plugin import migrated


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where a test's own servers are; the database has its tables."""
    with migrated() as made:
        yield made


@pytest.fixture(scope="session")
def site() -> Iterator[Serving]:
    """A site in development; its demo users Alice and Bob belong to the tests of the page."""
    with migrated() as made, serving(made) as it:
        yield it


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser with an empty profile; skips where there is none, fails if CI has none."""
    with started(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture(scope="session")
def own_chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser for the modules that go elsewhere: the page of the others must not be left."""
    with started(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


@pytest.fixture(scope="session")
def desk(chromium: Chrome, site: Serving) -> Desk:
    """A first visit to the page."""
    desk = Desk(chromium, site.address)
    desk.open()
    return desk


LEFT_BEHIND = """
    UPDATE presence_device SET revoked = now()
     WHERE revoked IS NULL AND NOT EXISTS (SELECT FROM presence_connection c WHERE c.device_id = presence_device.id)
"""  # of an earlier test: nothing counts as delivered before all devices have it


@pytest.fixture
def pair(desk: Desk, site: Serving) -> tuple[Device, Device]:
    """A device of Alice, a device of Bob, both on the conversation of the two; they have no others."""
    found = desk.tidy()
    with psycopg.connect(services.locate(site.directory).database_url, autocommit=True) as sql:
        sql.execute(LEFT_BEHIND)
    return found
