"""Counts of attempts: PostgreSQL and the one in memory keep the same promises, and transactions that count side by side never deadlock."""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Protocol

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import ResourceExhausted, Unauthenticated
from mesh.secret import Secret
from services.authentication.domain.session import Client
from services.authentication.domain.throttle import Attempts
from services.authentication.domain.tokens import TokenPair
from services.authentication.store.postgres import PostgresStore
from tests.fakes.attempts import MemoryStore
from tests.fakes.clock import START, ManualClock

from .support import CLIENT, PASSWORD, World, audit_trail, build

LATER = START + timedelta(seconds=90)
WRONG = Secret("wrong horse battery")


class HasAttempts(Protocol):
    def transaction(self) -> AbstractAsyncContextManager[Any]: ...


@pytest.fixture(params=["postgres", "memory"])
async def store(request: pytest.FixtureRequest, database: Database) -> HasAttempts:
    if request.param == "memory":
        return MemoryStore()
    return PostgresStore(database, audit_trail(database, ManualClock()))


async def test_a_lane_without_a_count_has_none(store: HasAttempts) -> None:
    """And looking at it makes none."""
    async with store.transaction() as unit:
        assert await unit.attempts.get([b"\x01a"]) == {}
        assert await unit.attempts.lock([b"\x01a", b"\x02a"], START) == {
            b"\x01a": Attempts(0, START, START),
            b"\x02a": Attempts(0, START, START),
        }


async def test_a_count_is_kept_as_it_was_put(store: HasAttempts) -> None:
    """To the microsecond; other lanes stay as they are."""
    one, two = Attempts(3, START, LATER), Attempts(1, LATER, LATER)
    async with store.transaction() as unit:
        await unit.attempts.lock([b"\x01a", b"\x01b", b"\x03c"], START)
        await unit.attempts.put({b"\x01a": one, b"\x03c": two})
    async with store.transaction() as unit:
        found = await unit.attempts.get([b"\x01a", b"\x03c", b"\x03d"])
        assert found == {b"\x01a": one, b"\x03c": two}
        assert (await unit.attempts.lock([b"\x01a"], LATER))[b"\x01a"] == one


@pytest.mark.parametrize("beginning", [b"\x01ab", b"\x01a\xff", b"\x01\xff\xff"])
async def test_what_begins_alike_is_forgotten_and_nothing_else(store: HasAttempts, beginning: bytes) -> None:
    """An account's lanes with all its pairs, whatever the hash ends with."""
    ours = [beginning, beginning + b"\x00", beginning + b"\xff" * 16]
    others = [beginning[:-1], beginning[:-1] + bytes([beginning[-1] - 1]) + b"\xff" * 16, b"\x02"]
    count = Attempts(1, START, START)
    async with store.transaction() as unit:
        await unit.attempts.lock(sorted(ours + others), START)
        await unit.attempts.put(dict.fromkeys(ours + others, count))
    async with store.transaction() as unit:
        await unit.attempts.forget(beginning)
    async with store.transaction() as unit:
        assert set(await unit.attempts.get(ours + others)) == set(others)


async def test_a_storm_over_shared_lanes_ends_in_answers_and_in_exact_counts(
    world: World, database: Database
) -> None:
    """Right and wrong, known and unknown devices, two accounts, two addresses, two replicas: no deadlock, no guess uncounted."""
    await world.user("ann")
    await world.user("bob")
    other = build(database)
    await asyncio.gather(other.keyring.refresh(), other.server_secret.refresh())
    token = Secret((await world.sign_in.sign_in("ann", PASSWORD, CLIENT)).device_token)
    calls = []
    for number in range(60):
        replica = (world, other)[number % 2]
        name, password = ("ann", "bob")[number // 2 % 2], (WRONG, PASSWORD)[number // 4 % 2]
        client = Client(("192.0.2.7", "192.0.2.8")[number // 8 % 2])
        device = token if number % 5 == 0 else None
        calls.append(replica.sign_in.sign_in(name, password, client, device_token=device))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(a, TokenPair | Unauthenticated | ResourceExhausted) for a in answers), answers
    assert {a.reason for a in answers if isinstance(a, ResourceExhausted)} <= {"LOGIN_THROTTLED"}
    other.hashing.close()


async def test_guesses_made_side_by_side_count_too(world: World, database: Database) -> None:
    """Forty at once from one address are four: three are free, and the fourth begins the pause."""
    await world.user("ann")
    other = build(database)
    await asyncio.gather(other.keyring.refresh(), other.server_secret.refresh())
    answers = await asyncio.gather(
        *((world, other)[n % 2].sign_in.sign_in("ann", WRONG, CLIENT) for n in range(40)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Unauthenticated) for answer in answers) == 4
    assert sum(isinstance(answer, ResourceExhausted) for answer in answers) == 36
    other.hashing.close()


async def test_who_has_to_wait_writes_nothing(world: World, database: Database) -> None:
    """A storm of attempts that are refused must not fill the disk, neither with rows nor with what they leave behind."""
    await world.user("ann")
    for number in range(8):
        with pytest.raises((Unauthenticated, ResourceExhausted)):
            await world.sign_in.sign_in("ann", WRONG, Client(f"198.51.100.{number}"))

    async def written() -> Any:
        async with database.read() as connection:
            query = "SELECT xmin::text, ctid::text FROM sign_in_attempts ORDER BY lane"
            return [tuple(row) for row in await connection.execute(text(query))]

    before = await written()
    for number in range(100, 120):
        with pytest.raises(ResourceExhausted):
            await world.sign_in.sign_in("ann", WRONG, Client(f"198.51.100.{number}"))
    assert await written() == before
