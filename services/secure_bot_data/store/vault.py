"""Values in the vault: sealed with Transit, then kept in KV version 2 under `<prefix>/<bot id>/<name>`.

A KV version has three fields, all text:

    format       "2"; "1" of older releases differs in the packing: JSON
    about        what the version says of itself, JSON; readable without decrypting, so that the catalogue can be made from it
    ciphertext   the values, as `packing` has them, encrypted with a key derived for the bot

The associated data of the ciphertext is `bot_id|name|version|SHA-256 of about`: a ciphertext moved to another bot, secret or version,
or given another description, does not open. So neither reading KV nor using Transit alone reveals anything.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from mesh.errors import FailedPrecondition, Internal, InvalidArgument, NotFound
from mesh.secret import Secret
from mesh.vault import (
    CoalescedKey,
    KeyVersionRetired,
    KvStore,
    SealedItem,
    SecretVersion,
    TransitItem,
    VaultClient,
    VersionInfo,
    key_version,
)
from mesh.vault.kv import MAX_LABEL_VALUE_BYTES
from services.secure_bot_data.domain.lifecycle import Event
from services.secure_bot_data.domain.model import (
    Description,
    OpenedVersion,
    SealedVersion,
    SecretKey,
    SecretKind,
    SecretRef,
    State,
    VersionFact,
)
from services.secure_bot_data.store.packing import pack, unpack, unpack_json

TRANSIT_KEY: Final = "bot-secrets"
FORMAT: Final = "2"
UNPACK: Final = {"1": unpack_json, FORMAT: unpack}
NOBODY: Final = SecretRef("00000000-0000-0000-0000-000000000000", "health")
"""Where no secret is: a read that costs the vault next to nothing."""


class VaultSecrets:
    """Implements `SecretVault`; `run` must be running. Times of versions are the vault's, times of descriptions the writer's."""

    def __init__(self, client: VaultClient, prefix: str) -> None:
        """`prefix`: the first segment of the path of every secret."""
        self._client = client
        self._kv: KvStore = client.kv(prefix)
        self._transit = client.transit()
        self._key = CoalescedKey(self._transit, TRANSIT_KEY)

    async def run(self) -> None:
        """Encrypt and decrypt until cancelled."""
        await self._key.run()

    async def seal(
        self, ref: SecretRef, version: int, fields: Mapping[str, Secret], description: Description
    ) -> SealedVersion:
        """See `SecretVault.seal`."""
        ciphertext = await self._key.encrypt(
            TransitItem(pack(fields), _context(ref), _associated(ref, version, _about(description)))
        )
        return SealedVersion(version, replace(description, key_version=key_version(ciphertext)), ciphertext)

    async def put(self, ref: SecretRef, sealed: SealedVersion) -> None:
        """See `SecretVault.put`."""
        entry = {"format": FORMAT, "about": _about(sealed.description), "ciphertext": sealed.ciphertext}
        await self._kv.put(
            _path(ref), {name: Secret(value) for name, value in entry.items()}, cas=sealed.version - 1
        )

    async def open(self, ref: SecretRef, version: int) -> OpenedVersion:
        """See `SecretVault.open`."""
        stored = await self._get(ref, version)
        about = _field(stored, "about")
        plain = await self._decrypt(ref, stored, about)
        # Only now that it has been authenticated is the description worth reading.
        values = UNPACK[_field(stored, "format")](plain)
        return OpenedVersion(stored.version, _description(stored), values)

    async def describe(self, ref: SecretRef, version: int) -> Description:
        """See `SecretVault.describe`."""
        return _description(await self._get(ref, version))

    async def facts(self, ref: SecretRef) -> Sequence[VersionFact]:
        """See `SecretVault.facts`."""
        metadata = await self._kv.metadata(_path(ref))
        return [_fact(info) for info in metadata.versions]

    async def change(self, ref: SecretRef, event: Event, versions: Sequence[int]) -> None:
        """See `SecretVault.change`."""
        act = {
            Event.DELETE: self._kv.delete,
            Event.UNDELETE: self._kv.undelete,
            Event.DESTROY: self._kv.destroy,
        }[event]
        await act(_path(ref), versions)

    async def key(self) -> SecretKey:
        """See `KeyVault.key`."""
        key = await self._transit.key(TRANSIT_KEY)
        return SecretKey(key.latest, key.min_decryption_version, key.create_times)

    async def rotate_key(self) -> None:
        """See `KeyVault.rotate_key`."""
        await self._transit.rotate(TRANSIT_KEY)

    async def retire_key(self, least: int) -> None:
        """See `KeyVault.retire_key`."""
        await self._transit.set_min_decryption(TRANSIT_KEY, least)

    async def label(self, ref: SecretRef, labels: Mapping[str, str]) -> None:
        """See `SecretVault.label`."""
        shown = {name: _shown(text) for name, text in labels.items()}
        await self._kv.label(_path(ref), {name: text for name, text in shown.items() if text})

    async def check(self) -> None:
        """Raises Unavailable or ResourceExhausted unless the vault lets us read and encrypt. For health: a seal, or a policy that was
        narrowed, shows without traffic."""
        with suppress(NotFound):
            await self._kv.get(_path(NOBODY))
        await self._key.encrypt(TransitItem(b"", _context(NOBODY)))
        self._client.check()

    async def _get(self, ref: SecretRef, version: int) -> SecretVersion:
        stored = await self._kv.get(_path(ref), version or None)
        if _field(stored, "format") not in UNPACK:
            raise Internal("INTERNAL", "a secret in the vault has a format that this version does not know")
        return stored

    async def _decrypt(self, ref: SecretRef, stored: SecretVersion, about: str) -> bytes:
        try:
            return await self._key.decrypt(
                SealedItem(
                    _field(stored, "ciphertext"), _context(ref), _associated(ref, stored.version, about)
                )
            )
        except KeyVersionRetired:
            retired = True
        except InvalidArgument:
            retired = False
        if retired:
            # To whoever reads it is as good as destroyed: it was once in order and nobody gets at it any more.
            raise FailedPrecondition(
                "SECRET_DESTROYED",
                f"version {stored.version} of the secret is gone for good: its version of the key was retired",
            )
        raise Internal("INTERNAL", "a secret in the vault does not open: it was moved or changed there")


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
        "rewrapped_from": description.rewrapped_from,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _description(stored: SecretVersion) -> Description:
    needed = key_version(_field(stored, "ciphertext"))
    try:
        return replace(_parsed(json.loads(_field(stored, "about"))), key_version=needed)
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
        # What was written before there was rewrapping does not say.
        rewrapped_from=content.get("rewrapped_from", 0),
    )


def _shown(text: str) -> str:
    """As much of a text as KV takes for a label: what can be printed, at most 512 bytes of it, and never nothing but space."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode()[:MAX_LABEL_VALUE_BYTES].decode(errors="ignore").strip()


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
