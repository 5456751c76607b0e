"""Values in the vault: sealed with Transit, then kept in KV version 2 under `bots/<bot id>/<name>`.

A KV version has three fields, all text:

    format       "1"
    about        what the version says of itself, JSON; readable without decrypting, so that the catalogue can be made from it
    ciphertext   the values, as `packing` has them, encrypted with a key derived for the bot

The associated data of the ciphertext is `bot_id|name|version|SHA-256 of about`: a ciphertext moved to another bot, secret or version,
or given another description, does not open. So neither reading KV nor using Transit alone reveals anything.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

from mesh.errors import Internal, InvalidArgument, NotFound, Unavailable
from mesh.secret import Secret
from mesh.vault import KvStore, SecretVersion, Transit, VaultClient, VaultState, VersionInfo
from mesh.vault.kv import MAX_LABEL_VALUE_BYTES
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import (
    Description,
    OpenedVersion,
    SealedVersion,
    SecretKind,
    SecretRef,
    State,
    VersionFact,
)
from services.secure_bot_data.store.packing import pack, unpack

PREFIX: Final = "bots"
TRANSIT_KEY: Final = "bot-secrets"
FORMAT: Final = "1"
NOBODY: Final = SecretRef("00000000-0000-0000-0000-000000000000", "health")
"""Where no secret is: a read that costs the vault next to nothing."""


class VaultSecrets:
    """Implements `SecretVault`. Times of versions are the vault's, times of descriptions the writer's."""

    def __init__(self, client: VaultClient) -> None:
        self._client = client
        self._kv: KvStore = client.kv(PREFIX)
        self._transit: Transit = client.transit()

    async def seal(
        self, ref: SecretRef, version: int, fields: Mapping[str, Secret], description: Description
    ) -> SealedVersion:
        """See `SecretVault.seal`."""
        async with self._precisely():
            ciphertext = await self._transit.encrypt(
                TRANSIT_KEY,
                pack(fields),
                context=_context(ref),
                associated_data=_associated(ref, version, _about(description)),
            )
        return SealedVersion(version, description, ciphertext)

    async def put(self, ref: SecretRef, sealed: SealedVersion) -> None:
        """See `SecretVault.put`."""
        entry = {"format": FORMAT, "about": _about(sealed.description), "ciphertext": sealed.ciphertext}
        async with self._precisely():
            await self._kv.put(
                _path(ref), {name: Secret(value) for name, value in entry.items()}, cas=sealed.version - 1
            )

    async def open(self, ref: SecretRef, version: int) -> OpenedVersion:
        """See `SecretVault.open`."""
        stored = await self._get(ref, version)
        about = _field(stored, "about")
        async with self._precisely():
            plain = await self._decrypt(ref, stored, about)
        # Only now that it has been authenticated is the description worth reading.
        return OpenedVersion(stored.version, _description(about), unpack(plain))

    async def describe(self, ref: SecretRef, version: int) -> Description:
        """See `SecretVault.describe`."""
        return _description(_field(await self._get(ref, version), "about"))

    async def facts(self, ref: SecretRef) -> Sequence[VersionFact]:
        """See `SecretVault.facts`."""
        async with self._precisely():
            metadata = await self._kv.metadata(_path(ref))
        return [_fact(info) for info in metadata.versions]

    async def change(self, ref: SecretRef, event: Event, versions: Sequence[int]) -> None:
        """See `SecretVault.change`."""
        act = {
            Event.DELETE: self._kv.delete,
            Event.UNDELETE: self._kv.undelete,
            Event.DESTROY: self._kv.destroy,
        }[event]
        async with self._precisely():
            await act(_path(ref), versions)

    async def label(self, ref: SecretRef, labels: Mapping[str, str]) -> None:
        """See `SecretVault.label`."""
        shown = {name: _shown(text) for name, text in labels.items()}
        async with self._precisely():
            await self._kv.label(_path(ref), {name: text for name, text in shown.items() if text})

    async def check(self) -> None:
        """Raises Unavailable unless the vault answers and lets us at our secrets. For health: a seal shows without traffic."""
        with suppress(NotFound):
            await self.facts(NOBODY)

    async def _get(self, ref: SecretRef, version: int) -> SecretVersion:
        async with self._precisely():
            stored = await self._kv.get(_path(ref), version or None)
        if _field(stored, "format") != FORMAT:
            raise Internal("INTERNAL", "a secret in the vault has a format that this version does not know")
        return stored

    async def _decrypt(self, ref: SecretRef, stored: SecretVersion, about: str) -> bytes:
        try:
            return await self._transit.decrypt(
                TRANSIT_KEY,
                _field(stored, "ciphertext"),
                context=_context(ref),
                associated_data=_associated(ref, stored.version, about),
            )
        except InvalidArgument:
            pass
        raise Internal("INTERNAL", "a secret in the vault does not open: it was moved or changed there")

    @asynccontextmanager
    async def _precisely(self) -> AsyncIterator[None]:
        """Gives the client's refusals the reason that its state tells."""
        try:
            yield
        except Unavailable as error:
            reason, message = _AWAY.get(self._client.state, (error.reason, error.message))
            told = Unavailable(reason, message, retry_after=error.retry_after)
        else:
            return
        raise told


_AWAY: Final = {
    VaultState.SEALED: ("VAULT_SEALED", "the secret store is sealed"),
    VaultState.DENIED: ("VAULT_PERMISSION_LOST", "the secret store does not let this service in"),
}

_STATES: Final = {(False, False): State.ACTIVE, (False, True): State.DELETED}


def _path(ref: SecretRef) -> tuple[str, str]:
    return ref.bot_id, ref.name


def _context(ref: SecretRef) -> bytes:
    return ref.bot_id.encode()


def _associated(ref: SecretRef, version: int, about: str) -> bytes:
    return f"{ref.bot_id}|{ref.name}|{version}|{hashlib.sha256(about.encode()).hexdigest()}".encode()


def _fact(info: VersionInfo) -> VersionFact:
    state = _STATES.get((info.destroyed, info.delete_time is not None), State.DESTROYED)
    return VersionFact(info.version, state, info.create_time, info.delete_time)


def _field(stored: SecretVersion, name: str) -> str:
    if name not in stored.fields:
        raise Internal("INTERNAL", "a secret in the vault was not written by this service")
    return stored.fields[name].reveal()


def _about(description: Description) -> str:
    content: dict[str, Any] = {
        "kind": description.kind.value,
        "field_names": list(description.field_names),
        "create_time": description.create_time.isoformat(),
        "created_by": description.created_by,
        "write_id": description.write_id,
        "expire_time": _iso(description.expire_time),
        "rotate_time": _iso(description.rotate_time),
        "owner": description.owner,
        "rolled_back_from": description.rolled_back_from,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _description(about: str) -> Description:
    try:
        return _parsed(json.loads(about))
    except (ValueError, KeyError, TypeError):
        pass
    raise Internal("INTERNAL", "a secret in the vault has a description that nobody here wrote")


def _parsed(content: Any) -> Description:
    return Description(
        kind=SecretKind(content["kind"]),
        field_names=tuple(content["field_names"]),
        create_time=datetime.fromisoformat(content["create_time"]),
        created_by=content["created_by"],
        write_id=content["write_id"],
        expire_time=_time(content["expire_time"]),
        rotate_time=_time(content["rotate_time"]),
        owner=content["owner"],
        rolled_back_from=content["rolled_back_from"],
    )


def _shown(text: str) -> str:
    """As much of a text as KV takes for a label: what can be printed, at most 512 bytes of it, and never nothing but space."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode()[:MAX_LABEL_VALUE_BYTES].decode(errors="ignore").strip()


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
