"""Where passwords are hashed: a few threads of low priority and a short queue.

One hash takes a core for tens of milliseconds and 19 MiB. So that a storm of sign-ins can starve neither other calls nor the memory,
at most `threads` hashes run, at most `waiting` callers more have a place, and whoever comes then is refused before anything is spent
on the call. Argon2id releases the GIL; the threads give way to the event loop (Linux keeps a nice value per thread). When a caller
goes away, what waited for it is dropped and what ran for it ends by itself, so never more than `threads` hashes are without a place.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeVar

from mesh.errors import ResourceExhausted
from mesh.secret import Secret
from services.authentication.domain.passwords import HashParameters, hash_password, verify_password

NICENESS: Final = 15
RETRY_AFTER: Final = timedelta(seconds=1)

T = TypeVar("T")


class Place:
    """The right to hash, one thing after the other. Got from `HashingPool.place`."""

    def __init__(self, executor: ThreadPoolExecutor, cost: HashParameters) -> None:
        self._executor = executor
        self.cost = cost

    async def hash(self, password: Secret) -> str:
        """A new hash at the cost in force."""
        return await self._run(lambda: hash_password(password, self.cost))

    async def verify(self, password: Secret, phc: str | None) -> bool:
        """Whether the password fits; without a hash the same work is done and the answer is no."""
        if phc is None:
            await self.hash(password)
            return False
        return await self._run(lambda: verify_password(password, phc))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


class HashingPool:
    """Bounded threads for password work. Use it inside of one event loop; `close` at the end."""

    def __init__(self, threads: int, waiting: int, cost: Callable[[], HashParameters]) -> None:
        """`cost` gives the parameters for new hashes at the time of use."""
        self._executor = ThreadPoolExecutor(threads, "password", initializer=_give_way)
        self._free = threads + waiting
        self._cost = cost

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for the length of the block. Raises ResourceExhausted (OVERLOADED) at once when all are taken."""
        if self._free == 0:
            raise ResourceExhausted(
                "OVERLOADED", "too many passwords are being checked", retry_after=RETRY_AFTER
            )
        self._free -= 1
        try:
            yield Place(self._executor, self._cost())
        finally:
            self._free += 1

    def close(self) -> None:
        """Forget what waits; what runs ends by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
