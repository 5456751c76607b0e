"""Signing keys on a real database: one first key, readable only with the vault, a start without it, and rotation."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from mesh.database import Database
from mesh.errors import Unavailable
from mesh.identity.keys import parse_jwks
from services.authentication.domain.events import KEY_MADE, KEY_ROTATED
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.revocation import LONGEST_ACCESS_TOKEN, RevocationKind
from services.authentication.domain.signing import LEAD, LINGER, KeyState

from .support import ROTATION, FakeSealer, World, noted, revoked


def ring(world: World, sealer: FakeSealer | None = None) -> Keyring:
    return Keyring(world.store, sealer or FakeSealer(), lambda: ROTATION, world.clock)


def states(ring: Keyring) -> list[str]:
    """States of the keys that are published, from the one that goes to the one that comes."""
    order = ["RETIRING", "ACTIVE", "NEXT"]
    return sorted((key.state.value for key in ring._keys), key=order.index)


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


async def test_a_key_is_replaced_on_schedule_and_no_good_token_is_refused(world: World) -> None:
    """Every cache knows the next key before it signs, and the old one until its last token has ended."""
    old = world.keyring.signer().key_id
    replica = ring(world, world.sealer)
    await world.clock.advance(ROTATION - LEAD - timedelta(seconds=1))
    await world.keyring.refresh()
    assert states(world.keyring) == ["ACTIVE"]
    await world.clock.advance(timedelta(seconds=1))
    await world.keyring.refresh()
    cached = parse_jwks(await world.keyring.document())
    assert states(world.keyring) == ["ACTIVE", "NEXT"]
    assert world.keyring.signer().key_id == old
    await world.clock.advance(LEAD)
    await asyncio.gather(replica.refresh(), world.keyring.refresh())
    assert states(world.keyring) == ["RETIRING", "ACTIVE"]
    new = world.keyring.signer().key_id
    assert replica.signer().key_id == new != old
    assert new in cached  # nobody has to fetch anything to believe the first token of the new key
    await world.clock.advance(LONGEST_ACCESS_TOKEN)
    await world.keyring.refresh()
    assert old in parse_jwks(await world.keyring.document())
    await world.clock.advance(LINGER)
    await world.keyring.refresh()
    assert set(parse_jwks(await world.keyring.document())) == {new}


async def test_a_rotation_on_demand_goes_the_same_way(world: World, database: Database) -> None:
    """A second call while one waits makes no other: the contract says so."""
    first = await world.keyring.rotate()
    assert states(world.keyring) == ["ACTIVE", "NEXT"]
    [waiting] = [key for key in first if key.state is KeyState.NEXT]
    assert await world.keyring.rotate() == first
    await world.clock.advance(LEAD)
    await world.keyring.refresh()
    assert world.keyring.signer().key_id == waiting.id
    actions = [event.audit.action for event in await noted(database)]
    assert actions == [KEY_MADE, KEY_MADE, KEY_ROTATED]


async def test_a_key_that_is_given_up_is_out_at_once(world: World) -> None:
    """Whoever has stolen it can sign whatever tokens they like; sessions go on with the new one."""
    await world.keyring.rotate()
    before = {key.id for key in world.keyring._keys}
    answered = await world.keyring.give_up()
    new = world.keyring.signer().key_id
    assert set(parse_jwks(await world.keyring.document())) == {new}
    assert {key.id for key in answered if key.state.value == "RETIRED"} == before
    assert set(await revoked(world)) == {(RevocationKind.SIGNING_KEY, key_id) for key_id in before}


async def test_the_key_in_place_of_a_compromised_one_is_on_the_trail(
    world: World, database: Database
) -> None:
    """As every key that is made, and every one that begins to sign: whoever investigates wants to know since when."""
    before = len(await noted(database))
    await world.keyring.give_up()
    new = f"signingKeys/{world.keyring.signer().key_id}"
    assert [(event.audit.action, event.audit.resource) for event in (await noted(database))[before:]] == [
        (KEY_MADE, new),
        (KEY_ROTATED, new),
    ]


async def test_a_key_that_is_given_up_before_its_turn_says_that_it_never_signs(world: World) -> None:
    """A time in the future would promise what will not happen."""
    await world.keyring.rotate()
    (waiting,) = [key.id for key in world.keyring._keys if key.state is KeyState.NEXT]
    answered = {key.id: key for key in await world.keyring.give_up()}
    assert answered[waiting].activate_time is None
    assert [key.activate_time is None for key in answered.values()].count(True) == 1


async def test_with_the_vault_away_a_rotation_changes_nothing(world: World) -> None:
    """Half a rotation would leave a key that nobody can sign with."""
    before = world.keyring.signer()
    world.sealer.away = True
    for attempt in (world.keyring.rotate, world.keyring.give_up):
        with pytest.raises(Unavailable):
            await attempt()
    world.sealer.away = False
    await world.keyring.refresh()
    assert world.keyring.signer() == before
    assert states(world.keyring) == ["ACTIVE"]


async def test_replicas_rotate_once_however_many_there_are(world: World) -> None:
    """Each of them runs the schedule."""
    rings = [ring(world, world.sealer) for _ in range(4)]
    await world.clock.advance(ROTATION)
    await asyncio.gather(*(each.refresh() for each in rings))
    await world.clock.advance(LEAD)
    await asyncio.gather(*(each.refresh() for each in rings))
    await asyncio.gather(*(each.refresh() for each in rings))
    assert {each.signer().key_id for each in rings} == {rings[0].signer().key_id}
    assert states(rings[0]) == ["RETIRING", "ACTIVE"]


async def test_a_key_that_waits_is_opened_ahead_of_its_time(world: World) -> None:
    """The vault may be away at the moment when it begins to sign."""
    await world.keyring.rotate()
    replica = ring(world, world.sealer)
    await replica.refresh()
    world.sealer.away = True
    await world.clock.advance(LEAD)
    await replica.refresh()
    assert states(replica) == ["RETIRING", "ACTIVE"]
