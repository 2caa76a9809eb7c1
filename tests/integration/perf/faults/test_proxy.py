"""The rig's own proxy on real sockets: each rule does what it says, and nothing passes changed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic

import pytest

from perf.faults.proxy import Proxy, Rule, Streams

STUCK = Rule(stuck=True)
SOON_S = 2.0


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Proxy, list[Streams]]]:
    """A proxy before a server that gives back what it gets, and that server's sides of the connections."""
    sides: list[Streams] = []
    echoes: list[asyncio.Task[None] | None] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sides.append((reader, writer))
        echoes.append(asyncio.current_task())
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", port))
    async with proxy.serving():
        try:
            yield proxy, sides
        finally:
            server.close()
    await server.wait_closed()
    await asyncio.wait([one for one in echoes if one is not None], timeout=SOON_S)


@asynccontextmanager
async def talking(proxy: Proxy) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    """A connection through the proxy that has been used once; says something and returns the echo."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)

    async def say(data: bytes) -> bytes:
        writer.write(data)
        await writer.drain()
        return await reader.readexactly(len(data))

    try:
        assert await say(b"first") == b"first"
        yield say
    finally:
        writer.close()


async def test_everything_passes_unchanged_and_in_order() -> None:
    data = bytes(range(256)) * 8_000
    async with echoing() as (proxy, _), talking(proxy) as say:
        assert await asyncio.wait_for(say(data), 10) == data


async def test_a_delay_holds_each_direction_and_ends_with_the_healing() -> None:
    async with echoing() as (proxy, _), talking(proxy) as say:
        proxy.impose({"up": Rule(delay_s=0.15), "down": Rule(delay_s=0.15)})
        begun = monotonic()
        assert await say(b"slow") == b"slow"
        assert 0.3 <= monotonic() - begun < SOON_S
        assert proxy.effects["delayed"] >= 2
        proxy.heal()
        before = proxy.effects["delayed"]
        assert await say(b"fast") == b"fast"
        assert proxy.effects["delayed"] == before


async def test_jitter_never_reorders() -> None:
    data = b"".join(b"%04d" % number for number in range(200))
    async with echoing() as (proxy, _), talking(proxy) as say:
        proxy.impose({"up": Rule(jitter_s=0.05), "down": Rule(jitter_s=0.05)})
        answers = [await say(data[at : at + 100]) for at in range(0, len(data), 100)]
        assert b"".join(answers) == data


async def test_a_narrow_line_takes_its_time() -> None:
    async with echoing() as (proxy, _), talking(proxy) as say:
        proxy.impose({"up": Rule(bytes_per_s=20_000)})
        begun = monotonic()
        assert await say(b"x" * 10_000) == b"x" * 10_000
        assert monotonic() - begun >= 0.4
        assert proxy.effects["limited"]


async def test_a_blackhole_holds_everything_and_loses_nothing() -> None:
    async with echoing() as (proxy, _), talking(proxy) as say:
        proxy.impose({"up": STUCK, "down": STUCK})
        waiting = asyncio.create_task(asyncio.wait_for(say(b"held"), SOON_S))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        proxy.heal()
        assert await waiting == b"held"
        assert proxy.effects["stuck"]


async def test_in_one_direction_requests_arrive_and_only_answers_wait() -> None:
    async with echoing() as (proxy, sides), talking(proxy) as say:
        proxy.impose({"down": STUCK})
        waiting = asyncio.create_task(asyncio.wait_for(say(b"one way"), SOON_S))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        assert not sides[0][1].is_closing()
        proxy.heal()
        assert await waiting == b"one way"


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_ends_connections_and_refuses_new_ones_until_healed(*, reset: bool) -> None:
    async with echoing() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"here")
        assert await reader.readexactly(4) == b"here"
        proxy.cut(reset=reset)
        assert await _end(reader) == ("reset" if reset else "end")
        writer.close()
        other, others = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await _end(other) in {"reset", "end"}
        others.close()
        assert proxy.effects["refused"] == 1
        proxy.heal()
        async with talking(proxy) as say:
            assert await say(b"again") == b"again"


async def test_a_half_open_connection_has_ended_for_the_far_side_only() -> None:
    async with echoing() as (proxy, sides):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"here")
        assert await reader.readexactly(4) == b"here"
        proxy.forget()
        async with asyncio.timeout(SOON_S):
            with suppress(ConnectionResetError):
                await sides[0][1].wait_closed()
        writer.write(b"into the void")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        proxy.heal()
        async with talking(proxy) as say:
            assert await say(b"a new one") == b"a new one"
        writer.close()


async def test_nobody_behind_it_ends_the_connection() -> None:
    async def dial() -> Streams:
        raise ConnectionRefusedError

    proxy = Proxy(dial)
    async with proxy.serving():
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await _end(reader) == "end"
        writer.close()


async def _end(reader: asyncio.StreamReader) -> str:
    try:
        async with asyncio.timeout(SOON_S):
            assert await reader.read(1) == b""
    except ConnectionResetError:
        return "reset"
    return "end"


async def test_a_stuck_line_says_nothing_of_an_end_either() -> None:
    """As if every packet were dropped: a FIN is none that gets through, before the line is mended."""
    async with echoing() as (proxy, sides):
        async with talking(proxy):
            told = asyncio.create_task(sides[0][1].wait_closed())
            proxy.impose({"up": STUCK, "down": STUCK})
        assert not (await asyncio.wait({told}, timeout=0.2))[0]
        proxy.heal()
        assert (await asyncio.wait({told}, timeout=SOON_S))[0]
