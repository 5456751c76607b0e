"""Signing keys on a real database: one first key, readable only with the vault, and a start without it."""

import asyncio

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import Unavailable
from mesh.identity.keys import parse_jwks
from services.authentication.domain.keyring import Keyring

from .support import FakeSealer, World


def ring(world: World, sealer: FakeSealer | None = None) -> Keyring:
    return Keyring(world.store, sealer or FakeSealer(), world.clock)


async def test_replicas_that_start_together_sign_with_one_key(world: World, database: Database) -> None:
    """A key that only one replica knows would make tokens the others refuse."""
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM signing_keys"))
    rings = [ring(world) for _ in range(4)]
    await asyncio.gather(*(each.refresh() for each in rings))
    assert len({each.signer().key_id for each in rings}) == 1
    assert len(parse_jwks(await rings[0].document())) == 1


async def test_a_restart_keeps_the_key(world: World) -> None:
    """Tokens issued before stay good."""
    again = ring(world)
    await again.refresh()
    assert again.signer().key_id == world.keyring.signer().key_id
    assert await again.document() == await world.keyring.document()


async def test_with_the_vault_away_public_keys_are_served_and_nothing_is_signed(world: World) -> None:
    """Who is signed in stays so; signing in works again by itself when the vault is back."""
    sealer = FakeSealer()
    sealer.away = True
    started = ring(world, sealer)
    with pytest.raises(Unavailable):
        await started.refresh()
    assert await started.document() == await world.keyring.document()
    with pytest.raises(Unavailable) as refused:
        started.signer()
    assert refused.value.reason == "VAULT_UNAVAILABLE"
    sealer.away = False
    await started.refresh()
    sealer.away = True
    await started.refresh()
    assert started.signer().key_id == world.keyring.signer().key_id


async def test_without_any_key_there_is_no_empty_key_set(world: World, database: Database) -> None:
    """An empty set would be cached for minutes by every service."""
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM signing_keys"))
    with pytest.raises(Unavailable):
        await ring(world).document()


async def test_the_private_key_is_not_in_the_database(world: World, database: Database) -> None:
    """A dump of the database must not sign anything."""
    raw = world.keyring.signer().key.private_bytes_raw()
    async with database.read() as connection:
        row = (await connection.execute(text("SELECT * FROM signing_keys"))).one()
    assert raw not in bytes(row.public_key)
    assert raw.hex() not in row.sealed_private_key


async def test_a_sealed_key_moved_to_another_row_does_not_open(world: World, database: Database) -> None:
    """Whoever can write the database cannot swap keys."""
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE signing_keys SET sealed_private_key = :other"), {"other": (b"x" * 80).hex()[:64]}
        )
    with pytest.raises(Unavailable):
        await ring(world).refresh()
