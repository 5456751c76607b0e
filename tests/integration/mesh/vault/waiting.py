"""A client at work, and waiting for what it finds out by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mesh.vault import VaultClient

RECOVERY_SECONDS = 12


@asynccontextmanager
async def running(client: VaultClient) -> AsyncIterator[None]:
    """With its background loop."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        try:
            yield
        finally:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Fails the test when it does not come true."""
    for _ in range(RECOVERY_SECONDS * 20):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came true")
