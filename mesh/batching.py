"""Many callers, one transaction: what arrives while a batch is being written goes into the next one.

Nothing waits for company: the first item is taken at once, and under load batches grow by themselves. A caller gets the result of its
own item, or the error that its batch met. An error that is not a MeshError may come from one bad item, so the batch is then repeated
item by item and only that one fails. Two items with the same key never share a batch; an item without one goes with any.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from mesh.errors import MeshError, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH = 500


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: str | None
    result: "asyncio.Future[Result]"


class Batcher(Generic[Item, Result]):
    """`write` takes up to MAX_BATCH items and returns their results in order. `run` must be running."""

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        key: Callable[[Item], str | None] = lambda _: None,
    ) -> None:
        self._write = write
        self._key = key
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._news = asyncio.Event()
        self._ended = False

    async def submit(self, item: Item) -> Result:
        """The result of this item. Bounded by the callers: each waits here. A cancelled caller's item may be written all the same.

        Raises Unavailable (SHUTTING_DOWN) once `run` has ended, since nobody would write it, and what `write` raises.
        """
        if self._ended:
            raise Unavailable("SHUTTING_DOWN", "this server is stopping", retry_after=timedelta(seconds=1))
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(item, self._key(item), future)  # a subscripted class would be made anew each time
        self._waiting.append(waiting)
        self._news.set()
        return await waiting.result

    async def run(self) -> None:
        """Write batches, one at a time, until cancelled; whoever still waits then is cancelled too. May be run again after it failed."""
        self._ended = False
        try:
            while True:
                await self._news.wait()
                batch = self._next()
                if batch:
                    await self._settle(batch)
                else:
                    self._news.clear()
        finally:
            self._ended = True
            while self._waiting:
                self._waiting.popleft().result.cancel()

    def _next(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        keys: set[str] = set()
        later: list[_Waiting[Item, Result]] = []
        while self._waiting and len(batch) < MAX_BATCH:
            waiting = self._waiting.popleft()
            if waiting.result.cancelled():
                continue
            if waiting.key in keys:
                later.append(waiting)
                continue
            batch.append(waiting)
            if waiting.key is not None:
                keys.add(waiting.key)
        self._waiting.extendleft(reversed(later))
        return batch

    async def _settle(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        try:
            await self._write_batch(batch)
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.result.cancel()
            raise
        except MeshError as error:
            for waiting in batch:
                _fail(waiting, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for waiting in batch:
                await self._settle([waiting])

    async def _write_batch(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        results = await self._write([waiting.item for waiting in batch])
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.result.done():
                waiting.result.set_result(result)


def _fail(waiting: _Waiting[Item, Result], error: Exception) -> None:
    if not waiting.result.done():
        waiting.result.set_exception(error)
