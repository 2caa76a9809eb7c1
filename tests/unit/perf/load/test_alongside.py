"""What goes on beside a load: it ends with the load, and its errors are the run's."""

import asyncio

import pytest

from perf.load.alongside import alongside


async def test_it_ends_with_what_is_inside() -> None:
    ended = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with alongside(forever()):
        await asyncio.sleep(0)
        assert not ended.is_set()
    assert ended.is_set()


async def test_an_error_of_it_ends_the_load_at_once() -> None:
    async def fall_over() -> None:
        raise OSError("the second load fell over")

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(10), alongside(fall_over()):
            await asyncio.Event().wait()  # a load that would go on for ever
    assert "fell over" in str(raised.value.exceptions[0])
