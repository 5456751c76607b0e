"""One key for many callers, on a real OpenBao."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mesh.errors import InvalidArgument, OutOfRange
from mesh.vault import CoalescedKey, SealedItem, Transit, TransitItem, VaultClient
from mesh.vault.transit import MAX_BATCH_BYTES
from mesh.vault.wire import Answer, Request

KEY = "bot-secrets"


class Counted:
    """A client that counts the requests that pass."""

    def __init__(self, client: VaultClient) -> None:
        self._client = client
        self.requests = 0

    async def call(self, request: Request, *, repeatable: bool) -> Answer:
        """See `VaultClient.call`."""
        self.requests += 1
        return await self._client.call(request, repeatable=repeatable)


@pytest.fixture
def counted(client: VaultClient) -> Counted:
    return Counted(client)


@pytest.fixture
async def key(counted: Counted) -> AsyncIterator[CoalescedKey]:
    """Running until the test ends."""
    made = CoalescedKey(Transit(counted.call, "vivesphere-transit"), KEY)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_comes_together_travels_together_and_gets_their_own(
    key: CoalescedKey, counted: Counted
) -> None:
    """Forty callers, each with a context of their own, in far fewer requests."""
    plain = [TransitItem(f"value {n}".encode(), f"bot {n}".encode(), b"record") for n in range(40)]
    sealed = await asyncio.gather(*(key.encrypt(item) for item in plain))
    items = [
        SealedItem(text, item.context, item.associated_data) for text, item in zip(sealed, plain, strict=True)
    ]
    opened = await asyncio.gather(*(key.decrypt(item) for item in items))
    assert opened == [item.plaintext for item in plain]
    assert counted.requests < len(plain) / 2


async def test_who_brings_rubbish_fails_alone(key: CoalescedKey) -> None:
    """The vault refuses a batch whole; the callers do not notice."""
    good = await key.encrypt(TransitItem(b"token", b"bot"))
    wanted = [
        SealedItem(good, b"bot"),
        SealedItem(good, b"other"),
        SealedItem("rubbish"),
        SealedItem(good, b"bot"),
    ]
    outcomes = await asyncio.gather(*(key.decrypt(item) for item in wanted), return_exceptions=True)
    assert [outcomes[0], outcomes[3]] == [b"token", b"token"]
    assert [type(outcome) for outcome in outcomes[1:3]] == [InvalidArgument, InvalidArgument]


async def test_large_values_are_spread_and_one_that_is_too_large_fails_alone(key: CoalescedKey) -> None:
    """Together they are more than one request holds."""
    plain = [TransitItem(bytes([n]) * (MAX_BATCH_BYTES // 2), b"bot") for n in range(3)]
    beyond = TransitItem(bytes(MAX_BATCH_BYTES + 1), b"bot")
    outcomes = await asyncio.gather(*(key.encrypt(item) for item in [*plain, beyond]), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str, str, str, OutOfRange]
