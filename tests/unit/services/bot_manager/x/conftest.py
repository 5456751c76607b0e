"""The port against a real sandbox on a free port, or against a bare socket."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import pytest

from mesh.clock import SystemClock
from sandbox.app import running
from sandbox.settings import Settings
from services.bot_manager.x.port import OAuth1Credentials
from services.bot_manager.x.tweepy_port import TweepyPort


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox and the way to its controls."""

    url: str
    session: aiohttp.ClientSession

    async def account(self, handle: str = "alice") -> tuple[str, OAuth1Credentials]:
        """A new account: its id and keys."""
        keys = await self.call("POST", "/sandbox/accounts", {"handle": handle})
        return keys["user_id"], OAuth1Credentials.from_fields(keys)

    async def posts(self) -> list[dict[str, object]]:
        return (await self.call("GET", "/sandbox/posts"))["posts"]

    async def fault(self, kind: str, **more: object) -> None:
        await self.call("POST", "/sandbox/faults", {"kind": kind, **more})

    async def call(self, method: str, path: str, body: object = None) -> dict:
        more = {} if body is None else {"json": body}
        async with self.session.request(method, self.url + path, **more) as response:
            assert response.ok, await response.text()
            return await response.json()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with aiohttp.ClientSession() as session, running(Settings(port=0)) as url:
        yield Sandbox(url, session)


@pytest.fixture
async def x(sandbox: Sandbox) -> AsyncIterator[TweepyPort]:
    port = TweepyPort(sandbox.url, request_timeout=lambda: timedelta(seconds=1.5), clock=SystemClock())
    yield port
    await port.close()
