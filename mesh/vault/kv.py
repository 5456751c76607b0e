"""KV version 2: secrets with versions and compare-and-set.

A path is a tuple of safe segments below the store's prefix: `(bot_id, "x_oauth1")`. Every write names the version it replaces, 0 for
a secret that must not exist yet; a soft delete does not reset the count. Field values go in and come out as `Secret`.
Deleting, restoring, destroying and labelling may be repeated; versions that do not exist are ignored by the vault, so
the caller looks at `metadata` first when it matters.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from hvac.api.secrets_engines import KvV2

from mesh.errors import Aborted, Internal, InvalidArgument, NotFound, OutOfRange
from mesh.secret import Secret
from mesh.vault.paths import folder_path, secret_path, segment
from mesh.vault.verdicts import too_large
from mesh.vault.wire import Answer, Call, Json

MiB: Final = 1024 * 1024
# Of the JSON that is sent, escapes included. The storage may take less: raft's `max_entry_size` is 1 MiB unless it was set.
MAX_SECRET_BYTES: Final = 4 * MiB
# Limits of KV version 2 for custom metadata.
MAX_LABELS: Final = 64
MAX_LABEL_KEY_BYTES: Final = 128
MAX_LABEL_VALUE_BYTES: Final = 512

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version, without its value. A soft-deleted one has `delete_time`; a destroyed one is gone for good."""

    version: int
    create_time: datetime
    delete_time: datetime | None
    destroyed: bool

    def readable(self, now: datetime) -> bool:
        """Whether the value can be read at `now`; a version may be set to expire in the future."""
        return not self.destroyed and (self.delete_time is None or self.delete_time > now)


@dataclass(frozen=True, slots=True)
class SecretMetadata:
    """A secret without its values. `versions` ascend; `labels` are the custom metadata. `current` is what compare-and-set expects."""

    current: int
    create_time: datetime
    update_time: datetime
    labels: Mapping[str, str]
    versions: tuple[VersionInfo, ...]


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """One version with its values."""

    fields: Mapping[str, Secret] = field(repr=False)
    version: int
    create_time: datetime
    labels: Mapping[str, str]


class KvStore:
    """The secrets below one prefix. Errors of every method besides its own: Unavailable and ResourceExhausted; InvalidArgument for
    a path or number out of bounds."""

    def __init__(self, call: Call, mount: str, prefix: str) -> None:
        self._call = call
        self._mount = segment(mount, "mount")
        self._prefix = segment(prefix, "prefix")

    async def put(self, path: Path, fields: Mapping[str, Secret], cas: int) -> int:
        """Writes a new version over version `cas` and returns its number.

        Raises Aborted VERSION_MISMATCH when `cas` is not the current version, OutOfRange above 4 MiB or what the storage takes,
        OutcomeUnknown when the confirmation was lost: `metadata` then tells whether `cas + 1` exists.
        """
        where = self._secret(path)
        _check(cas, 0, "cas")
        values = _revealed(fields)
        answer = await self._call(
            lambda wire: KvV2(wire).create_or_update_secret(where, values, cas=cas, mount_point=self._mount),
            repeatable=False,
        )
        if answer.status == HTTPStatus.BAD_REQUEST and answer.complains("check-and-set"):
            raise Aborted("VERSION_MISMATCH", "the secret has another version than expected")
        return _int(_expect(answer).data.get("version"))

    async def get(self, path: Path, version: int | None = None) -> SecretVersion:
        """A version with its values, the current one by default. NotFound when absent, deleted or destroyed."""
        where = self._secret(path)
        if version is not None:
            _check(version, 1, "version")
        answer = await self._call(
            lambda wire: KvV2(wire).read_secret_version(
                where, version, mount_point=self._mount, raise_on_deleted_version=True
            ),
            repeatable=True,
        )
        return _version(_expect(answer).data)

    async def metadata(self, path: Path) -> SecretMetadata:
        """Everything but the values, all versions included. NotFound when the secret never existed."""
        where = self._secret(path)
        answer = await self._call(
            lambda wire: KvV2(wire).read_secret_metadata(where, mount_point=self._mount), repeatable=True
        )
        return _metadata(_expect(answer).data)

    async def label(self, path: Path, labels: Mapping[str, str]) -> None:
        """Replaces the custom metadata: at most 64 pairs of 128 and 512 bytes. Not secret: shown in metadata and vault logs.

        Makes an empty entry when the secret does not exist. Resets the entry's own `delete_version_after`.
        """
        where = self._secret(path)
        _check_labels(labels)
        custom = dict(labels)
        answer = await self._call(
            lambda wire: KvV2(wire).update_metadata(where, mount_point=self._mount, custom_metadata=custom),
            repeatable=True,
        )
        _expect(answer)

    async def delete(self, path: Path, versions: Sequence[int]) -> None:
        """Soft-deletes versions; `undelete` brings them back."""
        await self._change("delete_secret_versions", path, versions)

    async def undelete(self, path: Path, versions: Sequence[int]) -> None:
        """Brings soft-deleted versions back."""
        await self._change("undelete_secret_versions", path, versions)

    async def destroy(self, path: Path, versions: Sequence[int]) -> None:
        """Removes the values of versions for good; their numbers stay known."""
        await self._change("destroy_secret_versions", path, versions)

    async def list(self, folder: Path = ()) -> list[str]:
        """Names directly below a folder, folders with a slash at their end; empty when there is no such folder."""
        where = folder_path(self._prefix, folder)
        answer = await self._call(
            lambda wire: KvV2(wire).list_secrets(where, mount_point=self._mount), repeatable=True
        )
        if answer.status == HTTPStatus.NOT_FOUND:
            return []
        keys = _expect(answer).data.get("keys")
        return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []

    async def _change(self, method: str, path: Path, versions: Sequence[int]) -> None:
        where = self._secret(path)
        if not versions:
            raise InvalidArgument(
                "INVALID_FIELD", "versions must name at least one version", field="versions"
            )
        for version in versions:
            _check(version, 1, "versions")
        numbers = list(versions)
        answer = await self._call(
            lambda wire: getattr(KvV2(wire), method)(where, numbers, mount_point=self._mount), repeatable=True
        )
        _expect(answer)

    def _secret(self, path: Path) -> str:
        return secret_path(self._prefix, path)


def _expect(answer: Answer) -> Answer:
    """The answer when it is a success; the error that its status means for a secret otherwise."""
    if answer.status == HTTPStatus.NOT_FOUND:
        raise NotFound("SECRET_NOT_FOUND", "no such secret or version of it")
    if too_large(answer):
        raise OutOfRange(
            "MESSAGE_TOO_LARGE", "the secret store takes no request of this size", field="fields"
        )
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise Internal(
            "INTERNAL", f"the secret store refused a well-formed request with status {answer.status}"
        )
    return answer


def _check(number: int, least: int, name: str) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number < 2**31:
        raise InvalidArgument("INVALID_FIELD", f"{name} must be a whole number from {least}", field=name)


def _revealed(fields: Mapping[str, Secret]) -> dict[str, str]:
    """The values for the wire; refuses what the vault's storage would refuse after taking it in."""
    values = {name: secret.reveal() for name, secret in fields.items()}
    # Six bytes a character is the worst JSON escape; counting exactly is only worth it for large values.
    size = sum(len(name) + len(value) for name, value in values.items())
    if size * 6 > MAX_SECRET_BYTES and _json_size(values) > MAX_SECRET_BYTES:
        raise OutOfRange(
            "MESSAGE_TOO_LARGE", f"a secret holds at most {MAX_SECRET_BYTES} bytes", field="fields"
        )
    return values


def _json_size(values: Json) -> int:
    # hvac sends json.dumps(...), that is ASCII with escapes.
    return len(json.dumps(values))


def _check_labels(labels: Mapping[str, str]) -> None:
    fits = len(labels) <= MAX_LABELS and all(
        0 < len(key.encode()) <= MAX_LABEL_KEY_BYTES and 0 < len(value.encode()) <= MAX_LABEL_VALUE_BYTES
        for key, value in labels.items()
    )
    if not fits:
        raise InvalidArgument(
            "INVALID_FIELD",
            f"labels are at most {MAX_LABELS} pairs of 1 to {MAX_LABEL_KEY_BYTES} and 1 to {MAX_LABEL_VALUE_BYTES} bytes",
            field="labels",
        )


def _version(data: Json) -> SecretVersion:
    meta, fields = _object(data.get("metadata")), _object(data.get("data"))
    return SecretVersion(
        fields={
            name: Secret(value if isinstance(value, str) else json.dumps(value))
            for name, value in fields.items()
        },
        version=_int(meta.get("version")),
        create_time=_time(meta.get("created_time")),
        labels=_labels(meta),
    )


def _metadata(data: Json) -> SecretMetadata:
    versions = _object(data.get("versions"))
    return SecretMetadata(
        current=_int(data.get("current_version")),
        create_time=_time(data.get("created_time")),
        update_time=_time(data.get("updated_time")),
        labels=_labels(data),
        versions=tuple(_info(int(number), _object(versions[number])) for number in sorted(versions, key=int)),
    )


def _info(version: int, data: Json) -> VersionInfo:
    deleted = data.get("deletion_time")
    return VersionInfo(
        version=version,
        create_time=_time(data.get("created_time")),
        delete_time=_time(deleted) if deleted else None,
        destroyed=bool(data.get("destroyed")),
    )


def _labels(data: Json) -> dict[str, str]:
    return {str(key): str(value) for key, value in (data.get("custom_metadata") or {}).items()}


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise _unexpected()
    return value


def _int(value: Any) -> int:
    if not isinstance(value, int):
        raise _unexpected()
    return value


def _time(value: Any) -> datetime:
    """RFC 3339 with nanoseconds; what is finer than microseconds is cut off."""
    if not isinstance(value, str):
        raise _unexpected()
    return datetime.fromisoformat(value)


def _unexpected() -> Internal:
    return Internal("INTERNAL", "the secret store gave an answer of another shape than KV version 2")
