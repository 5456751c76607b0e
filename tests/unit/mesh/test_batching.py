"""Many callers, one transaction."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from mesh.batching import Batcher
from mesh.errors import Unavailable
from mesh.tasks import TaskSet


class Record:
    """Writes after a turn of the loop, and remembers the batches; "bad" items break theirs."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.away = False

    async def write(self, items: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(items))
        await asyncio.sleep(0.01)
        if self.away:
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        if "bad" in items:
            raise ValueError("bad")
        return [item.upper() for item in items]


@asynccontextmanager
async def running(record: Record, key: Callable[[str], str] = str) -> AsyncIterator[Batcher[str, str]]:
    batcher = Batcher[str, str](record.write, key)
    async with TaskSet() as tasks:
        tasks.spawn(batcher.run(), name="batcher")
        yield batcher


async def test_what_comes_while_one_batch_is_written_shares_the_next() -> None:
    """The database commits per batch, and nobody waits for a batch to fill."""
    record = Record()
    async with running(record) as batcher:
        results = await asyncio.gather(*(batcher.submit(f"i{number}") for number in range(20)))
    assert results == [f"I{number}" for number in range(20)]
    assert len(record.batches) <= 2


async def test_the_same_key_never_shares_a_batch() -> None:
    """Two deliveries of one post in one statement would both believe to have it."""
    record = Record()
    async with running(record, lambda item: item[0]) as batcher:
        await asyncio.gather(*(batcher.submit(item) for item in ("a1", "a2", "b1", "a3")))
    assert record.batches == [["a1", "b1"], ["a2"], ["a3"]]


async def test_one_bad_item_fails_alone() -> None:
    """A post that cannot be written must not take 499 others along."""
    record = Record()
    async with running(record) as batcher:
        results = await asyncio.gather(
            *(batcher.submit(item) for item in ("a", "bad", "c")), return_exceptions=True
        )
    assert (results[0], results[2]) == ("A", "C")
    assert isinstance(results[1], ValueError)


async def test_everybody_hears_that_the_database_is_away() -> None:
    """Repeating each item alone would only wait longer."""
    record = Record()
    record.away = True
    async with running(record) as batcher:
        results = await asyncio.gather(*(batcher.submit(item) for item in "ab"), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert record.batches == [["a", "b"]]


async def test_whoever_waits_at_the_end_is_cancelled() -> None:
    """A caller that waits for ever would keep the process from stopping."""
    record = Record()
    async with TaskSet() as callers:
        async with running(record) as batcher:
            waiting = callers.spawn(batcher.submit("a"), name="caller")
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_nobody_waits_for_a_batcher_that_has_ended() -> None:
    """Who waited is cancelled with it; who comes later is told at once, until it runs again."""

    async def write(items: Sequence[int]) -> list[int]:
        return list(items)

    batcher = Batcher[int, int](write, str)
    running = asyncio.create_task(batcher.run())
    assert await batcher.submit(1) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(Unavailable) as refused:
        await batcher.submit(2)
    assert refused.value.reason == "SHUTTING_DOWN"
    running = asyncio.create_task(batcher.run())
    await asyncio.sleep(0)
    assert await batcher.submit(3) == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_items_without_a_key_go_together() -> None:
    """Also when they are alike: nothing of theirs is in each other's way."""
    record = Record()
    batcher = Batcher[str, str](record.write)
    waiting = [asyncio.create_task(batcher.submit("same")) for _ in range(5)]
    await asyncio.sleep(0)
    running = asyncio.create_task(batcher.run())
    await asyncio.gather(*waiting)
    assert record.batches == [["same"] * 5]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
