"""Between vault and database there is no common transaction; whatever dies in between is made whole."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from mesh.errors import Aborted, MeshError, Unavailable
from mesh.ids import new_id
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import Description, SecretKind, SecretRef, State
from services.secure_bot_data.domain.ports import Marker
from tests.integration.services.secure_bot_data.conftest import CALLER, MINUTE, Parts, oauth1
from tests.integration.services.secure_bot_data.root import Root

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


async def test_a_writer_that_died_after_the_vault_is_completed(parts: Parts, ref: SecretRef) -> None:
    """Credentials that the vault has taken must show in lists, without anybody writing them again."""
    await _die_between(parts, ref, 1)
    assert await parts.catalogue.find(ref) is None
    await parts.settler.sweep()
    metadata = await parts.catalogue.get(ref)
    assert (metadata.version, metadata.kind, metadata.updated_by) == (1, SecretKind.X_OAUTH1, CALLER.actor)
    assert await _announced(parts, ref) == 0


async def test_a_writer_that_died_before_the_vault_leaves_nothing(parts: Parts, ref: SecretRef) -> None:
    """An intention alone is no secret."""
    await parts.catalogue.announce(Marker(new_id(), ref, LONG_AGO))
    await parts.settler.sweep()
    assert await parts.catalogue.find(ref) is None
    assert await _announced(parts, ref) == 0


async def test_the_next_write_builds_on_what_a_dead_writer_left(parts: Parts, ref: SecretRef) -> None:
    """Compare-and-set means the vault's version, not that of a catalogue which lags."""
    await parts.writer.put(ref, oauth1("one"), None, CALLER)
    await _die_between(parts, ref, 2)
    with pytest.raises(Aborted):
        await parts.writer.put(ref, oauth1("three"), 1, CALLER)
    assert (await parts.writer.put(ref, oauth1("three"), 2, CALLER)).version == 3
    await _die_between(parts, ref, 4)
    assert (await parts.writer.put(ref, oauth1("five"), None, CALLER)).version == 5
    await parts.settler.sweep()
    versions = await parts.catalogue.list_versions(ref, before=None, limit=9)
    assert [(v.version, v.created_by) for v in versions] == [(n, CALLER.actor) for n in (5, 4, 3, 2, 1)]


async def test_a_slow_writer_does_not_bring_a_deleted_version_back(parts: Parts, ref: SecretRef) -> None:
    """Whoever deleted it between the writer's two steps has the last word."""
    description = await _die_between(parts, ref, 1)
    await parts.changer.change(ref, Event.DELETE, [])
    await parts.catalogue.record(ref, 1, description, new_id())
    metadata = await parts.catalogue.get(ref)
    assert metadata.state is State.DELETED


async def test_a_sealed_vault_is_told_at_once_and_found_again_by_itself(
    open_parts: Callable[[], Parts], ref: SecretRef, root: Root
) -> None:
    """Operators act on the reason; nobody should have to restart a service because the vault was away."""
    parts = open_parts()
    await parts.writer.put(ref, oauth1(), None, CALLER)
    await root.seal()
    try:
        for attempt in range(6):
            began = datetime.now(UTC)
            with pytest.raises(Unavailable) as caught:
                await (
                    parts.writer.put(ref, oauth1("lost"), 1, CALLER)
                    if attempt % 2
                    else parts.reader.lease(ref, 0, MINUTE, "publish", CALLER)
                )
            assert caught.value.reason == "VAULT_SEALED"
            assert datetime.now(UTC) - began < timedelta(seconds=1)
        # What needs no value goes on.
        assert (await parts.catalogue.get(ref)).version == 1
    finally:
        await root.restart()
    opened = await _as_soon_as_it_answers(parts, ref)
    assert (opened, await _announced(parts, ref)) == (1, 0)


async def _announced(parts: Parts, ref: SecretRef) -> int:
    markers = await parts.catalogue.announced(datetime.now(UTC))
    return len([marker for marker in markers if marker.ref == ref])


async def _die_between(parts: Parts, ref: SecretRef, version: int) -> Description:
    """Does what a writer does until the vault has taken the version, and no more."""
    description = Description(
        kind=SecretKind.X_OAUTH1,
        field_names=tuple(sorted(oauth1().fields)),
        create_time=datetime.now(UTC),
        created_by=CALLER.actor,
        write_id=new_id(),
    )
    await parts.catalogue.announce(Marker(new_id(), ref, LONG_AGO))
    await parts.vault.put(ref, await parts.vault.seal(ref, version, oauth1().fields, description))
    return description


async def _as_soon_as_it_answers(parts: Parts, ref: SecretRef) -> int:
    deadline = datetime.now(UTC) + timedelta(seconds=15)
    while True:
        try:
            return (await parts.reader.lease(ref, 0, MINUTE, "publish", CALLER))[0].version
        except MeshError:
            if datetime.now(UTC) > deadline:
                raise
