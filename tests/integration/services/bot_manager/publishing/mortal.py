"""Processes that die at a chosen moment: everything that publishing awaits is wrapped, and each call has a moment before and one after.

A process is a `Life`: it counts the moments it lives through and stops at the one it was told. From then on nothing of it runs: the call
in hand never returns, as if the machine were off, and what it does in its death throes (a `finally`) is refused. Dying before a
call is dying at any instruction since the call before; dying after one is losing its answer, although it had its effect.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Part = TypeVar("Part")


class Dead(BaseException):
    """This process runs no more."""


class Life:
    """Lives for `moments`, for ever without."""

    def __init__(self, moments: int | None = None) -> None:
        self.lived = 0
        self.died = asyncio.Event()
        self.last = ""
        self._moments = moments

    async def moment(self, name: str) -> None:
        """One more; never returns from the last."""
        if self.died.is_set():
            raise Dead
        if self.lived == self._moments:
            self.last = name
            self.died.set()
            await asyncio.Event().wait()
        self.lived += 1

    def of(self, part: Part) -> Part:
        """The same part, in this life: its coroutine methods take a moment before and one after."""
        return _Mortal(part, self)  # type: ignore[return-value]  # it looks like the part

    async def live(self, work: Awaitable[None]) -> bool:
        """Do the work; whether it was done before death."""
        doing = asyncio.ensure_future(work)
        dying = asyncio.ensure_future(self.died.wait())
        await asyncio.wait({doing, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if doing.done() and not self.died.is_set():
            doing.result()
            return True
        doing.cancel()
        await asyncio.wait({doing})
        if not doing.cancelled():
            doing.exception()  # death throes
        return False


class _Mortal:
    def __init__(self, part: object, life: Life) -> None:
        self._part = part
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._wrapped(name, found) if inspect.iscoroutinefunction(found) else found

    def _wrapped(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._life.moment(f"before {name}")
            answer = await method(*args, **kwargs)
            await self._life.moment(f"after {name}")
            return answer

        return call
