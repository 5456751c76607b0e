"""Somebody who looks into the vault sees what a secret is, and the service never believes what it sees there."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.ids import new_id
from services.secure_bot_data.domain.labels import labels_of
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import SecretRef
from services.secure_bot_data.domain.ports import Marker
from services.secure_bot_data.domain.settling import SETTLED, Settler
from services.secure_bot_data.store.vault import VaultSecrets
from tests.integration.services.secure_bot_data.conftest import CALLER, Parts, oauth1
from tests.integration.services.secure_bot_data.root import Root

SOON = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)


async def test_a_secret_is_labelled_when_it_is_made_and_when_that_changes(
    parts: Parts, ref: SecretRef, root: Root
) -> None:
    """Owner and dates are what somebody who cleans up asks for; absent ones are absent, since KV refuses empty labels."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    assert await _labels(root, ref) == {"managed_by": "vivesphere", "kind": "X_OAUTH1"}
    changed = replace(oauth1(), owner="ana", expire_time=SOON, rotate_time=SOON - timedelta(days=1))
    await parts.writer.put(ref, changed, None, CALLER)
    assert await _labels(root, ref) == {
        "managed_by": "vivesphere",
        "kind": "X_OAUTH1",
        "owner": "ana",
        "expire_time": "2031-02-03T04:05:06+00:00",
        "rotate_time": "2031-02-02T04:05:06+00:00",
    }
    assert await _announced(parts, ref) == 0


async def test_writes_that_change_no_label_ask_the_vault_no_more_than_before(
    parts: Parts, ref: SecretRef, root: Root
) -> None:
    """A refreshed token every two hours and bot must not cost another request each time."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    await _spoil(root, ref)
    await parts.writer.put(ref, oauth1("refreshed"), None, CALLER)
    assert await _labels(root, ref) == {"kind": "spoilt"}


@pytest.mark.parametrize("owner", ["a\nb\x07c", "ä" * 200, "\U0001f511" * 200, " \u200b", "\u202emallory"])
async def test_no_owner_is_too_odd_for_a_label(parts: Parts, ref: SecretRef, root: Root, owner: str) -> None:
    """KV takes 512 bytes of what can be printed; the contract takes any text."""
    metadata = await parts.writer.put(ref, replace(oauth1(), owner=owner), None, CALLER)
    assert metadata.owner == owner
    shown = (await _labels(root, ref)).get("owner", "")
    assert len(shown.encode()) <= 512
    assert owner.replace("\n", " ").replace("\x07", " ").strip("\u200b \u202e").startswith(shown)
    assert await _announced(parts, ref) == 0


async def test_a_label_that_could_not_be_written_fails_nothing_and_is_repaired(
    parts: Parts, ref: SecretRef, root: Root
) -> None:
    """The version is stored and recorded; people see it a little later."""
    writer = replace(parts.writer, settler=_without_labels(parts))
    metadata = await writer.put(ref, replace(oauth1(), owner="ana"), None, CALLER)
    assert (metadata.version, metadata.owner) == (1, "ana")
    assert (await _labels(root, ref), await _announced(parts, ref)) == (None, 1)
    await _age(parts, ref)
    await parts.settler.sweep()
    assert (await _labels(root, ref))["owner"] == "ana"
    assert await _announced(parts, ref) == 0


async def test_a_vault_that_refuses_labels_for_good_keeps_nothing_waiting(
    parts: Parts, ref: SecretRef
) -> None:
    """Announcements that nobody could ever conclude would hide those of writers that really died."""
    settler = _without_labels(parts)
    await replace(parts.writer, settler=settler).put(ref, oauth1(), None, CALLER)
    await _age(parts, ref)
    await settler.sweep()
    assert await _announced(parts, ref) == 0


async def test_a_sweep_makes_no_entry_where_the_vault_has_none(
    parts: Parts, ref: SecretRef, root: Root
) -> None:
    """A vault restored from a backup has lost secrets that the catalogue still lists; an empty entry would hide that."""
    await parts.writer.put(ref, oauth1(), None, CALLER)
    path = f"vivesphere-kv/metadata/bots/{ref.bot_id}/{ref.name}"
    await asyncio.to_thread(root.call, "DELETE", path)
    await parts.catalogue.announce(Marker(new_id(), ref, datetime.now(UTC) - 2 * SETTLED))
    await parts.settler.sweep()
    with pytest.raises(AssertionError, match="404"):
        await asyncio.to_thread(root.call, "GET", path)
    assert await _announced(parts, ref) == 0


async def test_of_racing_owners_the_last_version_is_shown(
    open_parts: Callable[[], Parts], ref: SecretRef, root: Root
) -> None:
    """Two replicas label one secret one after the other, and the older must not have the last word."""
    replicas = [open_parts(), open_parts()]
    drafts = [replace(oauth1(), owner=f"owner {i}") for i in range(8)]
    await asyncio.gather(*(replicas[i % 2].writer.put(ref, drafts[i], None, CALLER) for i in range(8)))
    metadata = await replicas[0].catalogue.get(ref)
    assert await _labels(root, ref) == labels_of(metadata)


async def test_what_somebody_writes_into_the_labels_is_believed_by_nobody(
    parts: Parts, ref: SecretRef, root: Root
) -> None:
    """Whoever may write metadata must not change what lists say or when a secret ends."""
    await parts.writer.put(ref, replace(oauth1(), owner="ana", expire_time=SOON), None, CALLER)
    await _spoil(root, ref)
    await parts.changer.change(ref, Event.DELETE, [])
    metadata = await parts.changer.change(ref, Event.UNDELETE, [])
    assert (metadata.owner, metadata.expire_time) == ("ana", SOON)
    opened = await parts.reader.reveal(ref, 0, "look", CALLER)
    assert (opened.description.owner, opened.description.expire_time) == ("ana", SOON)


class Unlabelling(VaultSecrets):
    """A vault that this service may not label in: as with a policy that lacks `metadata/`."""

    async def label(self, ref: SecretRef, labels: object) -> None:
        """See `SecretVault.label`."""
        await self._client.kv("elsewhere").label((ref.bot_id,), {"a": "b"})


def _without_labels(parts: Parts) -> Settler:
    return Settler(Unlabelling(parts.client, parts.prefix), parts.catalogue, SystemClock())


async def _labels(root: Root, ref: SecretRef) -> Any:
    path = f"vivesphere-kv/metadata/bots/{ref.bot_id}/{ref.name}"
    return (await asyncio.to_thread(root.call, "GET", path))["data"]["custom_metadata"]


async def _spoil(root: Root, ref: SecretRef) -> None:
    path = f"vivesphere-kv/metadata/bots/{ref.bot_id}/{ref.name}"
    await asyncio.to_thread(root.call, "POST", path, {"custom_metadata": {"kind": "spoilt"}})


async def _announced(parts: Parts, ref: SecretRef) -> int:
    markers = await parts.catalogue.announced(datetime.now(UTC))
    return len([marker for marker in markers if marker.ref == ref])


async def _age(parts: Parts, ref: SecretRef) -> None:
    """Lets a long time pass for the announcements of a secret."""
    for marker in await parts.catalogue.announced(datetime.now(UTC)):
        if marker.ref == ref:
            await parts.catalogue.withdraw(marker.id)
            await parts.catalogue.announce(Marker(new_id(), ref, marker.create_time - 2 * SETTLED))
