"""A few threads for blocking calls, with a bound on how many may wait.

hvac and requests block, so each call runs on a thread of its own pool: the event loop stays free and no other blocking work can
take the pool. At most `threads` run and `queue` wait; one more is refused with OVERLOADED at once. Whoever waits past the
deadline leaves the queue; a call that already runs keeps its place until its thread is really free.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Final, TypeVar

from mesh.errors import ResourceExhausted
from mesh.vault.wire import Lost

T = TypeVar("T")

RETRY_AFTER: Final = timedelta(milliseconds=500)
# Socket time-outs end at the deadline; the thread gets this long to say what it knows before its caller is answered without it.
GRACE_SECONDS: Final = 0.1


class Workers:
    """The pool. `close` once at the end."""

    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="vault")
        self._limit = threads + queue
        self._taken = 0
        self._lock = threading.Lock()

    async def run(self, job: Callable[[], T], deadline: float) -> T:
        """The job's result. Raises ResourceExhausted when it never started, Lost(sent) when it runs past `deadline` (time.monotonic)."""
        future = self._submit(lambda: _in_time(job, deadline))
        waiter = asyncio.wrap_future(future)
        waiter.add_done_callback(_retrieve)
        try:
            left = max(0.0, deadline - time.monotonic())
            await asyncio.wait({waiter}, timeout=left + GRACE_SECONDS)
        except asyncio.CancelledError:
            future.cancel()
            raise
        if future.done():
            return future.result()
        if future.cancel():
            raise _overloaded()
        raise Lost(sent=True)

    def close(self) -> None:
        """Refuses new jobs and drops waiting ones; running ones end by their socket time-outs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._taken >= self._limit:
                raise _overloaded()
            self._taken += 1
        future = self._executor.submit(job)
        future.add_done_callback(self._release)
        return future

    def _release(self, _: Future[T]) -> None:
        with self._lock:
            self._taken -= 1


def _in_time(job: Callable[[], T], deadline: float) -> T:
    """On the thread: a job whose turn comes too late is the queue's fault, not the vault's."""
    if time.monotonic() >= deadline:
        raise _overloaded()
    return job()


def _retrieve(waiter: asyncio.Future[T]) -> None:
    """Takes the exception of a call nobody waits for any more, so that asyncio does not print it."""
    if not waiter.cancelled():
        waiter.exception()


def _overloaded() -> ResourceExhausted:
    return ResourceExhausted("OVERLOADED", "too many calls to the secret store", retry_after=RETRY_AFTER)
