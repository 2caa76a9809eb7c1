"""The Python client's presence and typing against a whole site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest

from messaging.client import Client, ClosedError, RequestRefused
from messaging.protocol import Phase, Refused
from messaging.protocol.client.happenings import AnyHappening, TypingChanged
from project import services
from tests import scene
from tests.acceptance.site import Serving

pytestmark = pytest.mark.slow

PEOPLE = """
    INSERT INTO presence_user (username, password, first_name, last_name, email, is_superuser,
                               is_staff, is_active, date_joined)
    SELECT name, password, '', '', '', false, false, true, now()
    FROM presence_user, unnest(ARRAY['cleo', 'dan']) AS name WHERE username = 'alice'
"""  # with the demo user's password

LOOKS = """
    SELECT FROM pg_stat_activity
     WHERE application_name = 'lockstep presence' AND wait_event_type = 'Lock' AND query_start > %s
"""


@pytest.fixture(scope="module")
def sql(site: Serving) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A way past the site into its database, which then also has Cleo and Dan."""
    address = services.locate(site.directory).database_url
    with psycopg.connect(address, autocommit=True) as sql:
        sql.execute(PEOPLE)
        yield sql


class Pair:
    """A device of Cleo and one of Dan in a conversation, and what Cleo's is told."""

    def __init__(self, cleo: Client, dan: Client, conversation: str) -> None:
        self.cleo, self.dan, self.conversation = cleo, dan, conversation
        self.told: list[AnyHappening] = []
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for happening in self.cleo:
            self.told.append(happening)

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def sees(self, state: str, text: str = "") -> None:
        """Until Cleo sees Dan like this."""
        user = self.dan.core.user or ""

        def is_so() -> bool:
            known = self.cleo.presence.get(user)
            return known is not None and (known.state, known.text) == (state, text)

        await scene.eventually(is_so, what=lambda: f"{state} {text}: {self.cleo.presence}")


@asynccontextmanager
async def pair(site: Serving) -> AsyncIterator[Pair]:
    """Both connected, Dan seen by Cleo."""
    async with await _device(site, "cleo") as cleo, await _device(site, "dan") as dan:
        about = {"kind": "group", "members": [{"username": "dan"}]}
        made = await cleo.rest.call("POST", "/conversations", about)
        both = Pair(cleo, dan, str(made["conversation"]))
        await scene.eventually(lambda: not (cleo.stale or dan.stale))
        await both.sees("online")
        sent = await dan.send(both.conversation, "here I am")
        await scene.eventually(lambda: cleo.core.cursors.get(both.conversation) == sent.seq)
        try:
            yield both
        finally:
            await dan.set_presence(text="", invisible=False)
            await both.stop()


async def _device(site: Serving, username: str) -> Client:
    return await Client.log_in(site.address, username=username, password="lockstep")


@pytest.mark.usefixtures("sql")
async def test_what_is_awaited_is_known_to_the_server_and_shown_to_others(site: Serving) -> None:
    """State, text and invisibility; the own devices see more."""
    async with pair(site) as both:
        await both.dan.set_presence(state="away", text="at lunch")
        await both.sees("away", "at lunch")
        await both.dan.set_presence(invisible=True)
        await both.sees("offline")
        user = both.dan.core.user or ""
        await scene.eventually(lambda: both.dan.presence[user].invisible)  # perhaps told after Cleo
        own = both.dan.presence[user]
        assert (own.state, own.text) == ("away", "at lunch")
        here = [one.device for one in own.devices if one.state == "away"]
        assert here == [both.dan.core.device]


@pytest.mark.usefixtures("sql")
async def test_typing_begins_once_and_ends_with_the_message(site: Serving) -> None:
    """However many keys are pressed."""
    async with pair(site) as both:
        for _ in range(20):
            both.dan.typing(both.conversation)
        await scene.eventually(lambda: both.cleo.typists(both.conversation) == [both.dan.core.user])
        await both.dan.send(both.conversation, "hi")
        changes = lambda: [one.typing for one in both.told if isinstance(one, TypingChanged)]  # noqa: E731
        await scene.eventually(lambda: changes()[-1:] == [False])
        assert both.cleo.typists(both.conversation) == []
        assert changes() == [True, False]


@pytest.mark.usefixtures("sql")
async def test_a_watch_list_is_answered_or_refused(site: Serving) -> None:
    """Whoever is no acquaintance is left out of the answer."""
    async with pair(site) as both:
        stranger = "00000000-0000-4000-8000-000000000000"
        await both.cleo.watch([both.dan.core.user or "", stranger])
        assert stranger not in both.cleo.presence
        with pytest.raises(RequestRefused, match="bad_frame"):
            await both.cleo.watch(["nobody"])
        with pytest.raises(Refused, match="140"):
            both.cleo.set_presence(text="x" * 141)


async def test_after_a_reconnect_the_server_knows_again_who_is_away(
    site: Serving, sql: psycopg.Connection[tuple[object, ...]]
) -> None:
    """Somebody ends the connection from outside."""
    async with pair(site) as both:
        await both.dan.set_presence(state="away")
        await both.sees("away")
        sql.execute("DELETE FROM presence_connection WHERE device_id = %s", [both.dan.core.device])
        await scene.eventually(lambda: both.dan.stale, what=lambda: "the end")
        await scene.eventually(lambda: not both.dan.stale, what=lambda: "the return")
        await both.dan.set_presence(text="again")  # is answered after what was said again
        await both.sees("away", "again")


async def test_who_comes_while_nobody_can_look_sees_who_is_here(
    site: Serving, sql: psycopg.Connection[tuple[object, ...]]
) -> None:
    """The first look that works greets it, stale still; what follows says only that it is so no more."""
    async with pair(site) as both:
        with psycopg.connect(services.locate(site.directory).database_url) as holder:
            holder.execute("LOCK TABLE presence_status")  # it can't be read, and devices can come
            await both.dan.set_presence(state="away")  # somebody is to be looked at
            await scene.eventually(lambda: both.cleo.stale)
            comes = await _device(site, "cleo")
            async with comes:
                await scene.eventually(lambda: comes.core.phase is Phase.OPEN)
                [(opened,)] = sql.execute("SELECT clock_timestamp()").fetchall()
                await scene.eventually(lambda: sql.execute(LOOKS, [opened]).fetchall())
                holder.rollback()
                await scene.eventually(lambda: not comes.stale)
                assert comes.presence[both.dan.core.user or ""].state == "away"


@pytest.mark.usefixtures("sql")
async def test_what_was_not_answered_ends_with_the_client(site: Serving) -> None:
    """Nobody waits for ever."""
    async with await _device(site, "cleo") as client:
        pending = client.set_presence(state="away")
    with pytest.raises(ClosedError):
        await pending
    with pytest.raises(ClosedError):
        await client.watch([])
