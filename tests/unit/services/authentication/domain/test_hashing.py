"""The hashing pool: bounded, and never in the way of the event loop."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cli.registry import PROJECT_ROOT
from mesh.errors import ResourceExhausted
from mesh.secret import Secret
from services.authentication.domain.hashing import HashingPool, Place
from services.authentication.domain.passwords import HashParameters, hash_password

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


STORM = """
import asyncio, resource
from mesh.errors import ResourceExhausted
from mesh.secret import Secret
from services.authentication.domain.hashing import HashingPool, Place
from services.authentication.domain.passwords import HashParameters

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

async def main():
    pool = HashingPool(threads=2, waiting=20, cost=lambda: HashParameters(1, 64 * 1024, 1))
    counts = {"hashed": 0, "refused": 0}

    async def call():
        try:
            with pool.place() as place:
                await place.hash(Secret("correct horse"))
                counts["hashed"] += 1
        except ResourceExhausted:
            counts["refused"] += 1

    await call()
    before = peak_mib()
    await asyncio.gather(*(call() for _ in range(500)))
    print(counts["hashed"] - 1, counts["refused"], peak_mib() - before)
    pool.close()

asyncio.run(main())
"""


def test_a_storm_takes_the_memory_of_as_many_hashes_as_there_are_threads() -> None:
    """500 callers at 64 MiB each would be 31 GiB; two threads are 128 MiB, one of which the first hash has taken before."""
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", STORM],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    hashed, refused, more_mib = (int(number) for number in done.stdout.split())
    assert (hashed, refused) == (22, 478)
    assert more_mib < 100


async def test_never_more_run_than_there_are_threads_also_when_callers_hang_up(pool: HashingPool) -> None:
    """What a caller leaves behind ends by itself, and nothing runs beside it."""

    async def check() -> None:
        with pool.place() as place:
            await place.hash(Secret("correct horse"))

    threads = set()
    for _ in range(40):
        tasks = [asyncio.ensure_future(check()) for _ in range(2)]
        await asyncio.sleep(0)
        threads |= {thread.ident for thread in threading.enumerate() if thread.name.startswith("password")}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert len(threads) == 1
    await check()


class CountingExecutor(ThreadPoolExecutor):
    """Counts what it is given."""

    def __init__(self) -> None:
        super().__init__(1)
        self.given = 0

    def submit(self, *work: Any, **more: Any) -> Any:
        self.given += 1
        return super().submit(*work, **more)


@pytest.mark.parametrize("password", ["right horse", "wrong horse"])
@pytest.mark.parametrize("known", [True, False])
async def test_every_check_is_one_hash(password: str, known: bool) -> None:
    """Whoever is asked about: an unknown name costs what a wrong password does, at the cost in force."""
    phc = hash_password(Secret("right horse"), CHEAP) if known else None
    with CountingExecutor() as executor:
        fits = await Place(executor, CHEAP).verify(Secret(password), phc)
        assert fits is (known and password == "right horse")
        assert executor.given == 1
