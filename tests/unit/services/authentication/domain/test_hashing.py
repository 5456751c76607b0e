"""The hashing pool: bounded, and never in the way of the event loop."""

import asyncio
from collections.abc import Iterator

import pytest

from mesh.errors import ResourceExhausted
from mesh.secret import Secret
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.passwords import HashParameters

CHEAP = HashParameters(iterations=1, memory_kib=64, lanes=1)


@pytest.fixture
def pool() -> Iterator[HashingPool]:
    made = HashingPool(threads=1, waiting=1, cost=lambda: CHEAP)
    yield made
    made.close()


async def test_a_password_is_checked(pool: HashingPool) -> None:
    """The base case."""
    with pool.place() as place:
        phc = await place.hash(Secret("correct horse"))
        assert await place.verify(Secret("correct horse"), phc)
        assert not await place.verify(Secret("wrong horse"), phc)


async def test_nobody_s_password_fits_nothing(pool: HashingPool) -> None:
    """An unknown name takes the way of a wrong password, work included."""
    with pool.place() as place:
        assert not await place.verify(Secret("correct horse"), None)


def test_who_comes_when_all_places_are_taken_is_refused_at_once(pool: HashingPool) -> None:
    """A storm of sign-ins must not eat the memory nor wait for minutes."""
    with pool.place(), pool.place():
        with pytest.raises(ResourceExhausted) as refused, pool.place():
            pass
        assert refused.value.reason == "OVERLOADED"
        assert refused.value.retry_after is not None
    with pool.place():
        pass


async def test_a_caller_that_goes_away_gives_its_place_back(pool: HashingPool) -> None:
    """Otherwise clients that hang up could close the door for good."""

    async def check() -> None:
        with pool.place() as place:
            await place.hash(Secret("correct horse"))

    for _ in range(5):
        task = asyncio.ensure_future(check())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await check()
