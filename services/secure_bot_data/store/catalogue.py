"""The catalogue in PostgreSQL: implements `domain.ports.Catalogue`, and answers lists.

A version's state is only ever copied from the vault under the secret's lock (`copy`), or ACTIVE when the row is new (`record`), so
a slow writer cannot bring a deleted version back. The current version only grows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    column,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.audit import Conclude, unaudited
from mesh.batching import Batcher
from mesh.context import Call, current_call
from mesh.database import Database
from mesh.errors import NotFound
from mesh.tasks import together
from services.secure_bot_data.domain.model import (
    VERSIONS_KEPT,
    Description,
    SecretKind,
    SecretMetadata,
    SecretRef,
    State,
    VersionFact,
    VersionRecord,
)
from services.secure_bot_data.domain.ports import Label, Look, Marker, Picture
from services.secure_bot_data.store.locking import lock
from services.secure_bot_data.store.rotations import conclude
from services.secure_bot_data.store.tables import announcements, secret_versions, secrets

SWEEP_BATCH: Final = 100
due_time: Final = func.least(secrets.c.rotate_time, secrets.c.expire_time, type_=DateTime(timezone=True))
"""When a secret should be replaced or ends, whichever comes first; NULL, and so never due, without either."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A version that one call has written. `call` is put on the audit trail with it."""

    ref: SecretRef
    version: int
    description: Description
    marker_id: str | None
    rotation_id: str | None
    call: Call | None


class PostgresCatalogue:
    """The catalogue of one database. `run` must be running: single secrets are looked up, announced and recorded in batches, see
    `mesh.batching`.

    `conclude` writes the audit records of calls into the transaction; see `AuditTrail.conclude`.
    """

    def __init__(self, database: Database, conclude: Conclude = unaudited) -> None:
        self._database = database
        self._conclude = conclude
        self._lookups = Batcher[SecretRef, SecretMetadata | None](self._look_up)
        self._announcements = Batcher[Marker, None](self._announce)
        self._records = Batcher[_Record, SecretMetadata | None](self._record, lambda one: _lock_name(one.ref))

    async def run(self) -> None:
        """Write until cancelled."""
        await together(self._lookups.run(), self._announcements.run(), self._records.run())

    async def find(self, ref: SecretRef) -> SecretMetadata | None:
        """See `Catalogue.find`."""
        return await self._lookups.submit(ref)

    async def _look_up(self, refs: Sequence[SecretRef]) -> list[SecretMetadata | None]:
        async with self._database.read() as connection:
            found = await _find_all(connection, refs)
        return [found.get(ref) for ref in refs]

    async def get(self, ref: SecretRef) -> SecretMetadata:
        """What is known of a secret. NotFound SECRET_NOT_FOUND."""
        found = await self.find(ref)
        if found is None:
            raise NotFound("SECRET_NOT_FOUND", "no such secret")
        return found

    async def list_secrets(
        self,
        bot_id: str,
        *,
        kind: SecretKind | None,
        show_deleted: bool,
        rotate_before: datetime | None,
        after: str,
        limit: int,
    ) -> list[SecretMetadata]:
        """Secrets of a bot by name, those behind `after`."""
        query = _metadata().where(secrets.c.bot_id == bot_id, secrets.c.name > after)
        if kind is not None:
            query = query.where(secrets.c.kind == kind.value)
        if not show_deleted:
            query = query.where(secret_versions.c.state == State.ACTIVE.value)
        if rotate_before is not None:
            query = query.where(secrets.c.rotate_time < rotate_before)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(secrets.c.name).limit(limit))
            return [_to_metadata(row) for row in rows]

    async def list_due(
        self,
        before: datetime | None,
        *,
        kind: SecretKind | None,
        after: tuple[datetime, str, str] | None,
        limit: int,
    ) -> list[SecretMetadata]:
        """Secrets of all bots that are due before a time, by the database's clock before now, the most pressing first.

        Those behind `after`: when due, bot and name of the last one known.
        """
        query = due_query(before, kind=kind, after=after).limit(limit)
        async with self._database.read() as connection:
            return [_to_metadata(row) for row in await connection.execute(query)]

    async def list_versions(self, ref: SecretRef, *, before: int | None, limit: int) -> list[VersionRecord]:
        """Versions of a secret, newest first, those below `before`. NotFound SECRET_NOT_FOUND."""
        await self.get(ref)
        query = select(secret_versions).where(*_is(secret_versions, ref))
        if before is not None:
            query = query.where(secret_versions.c.version < before)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(secret_versions.c.version.desc()).limit(limit))
            return [to_version(row) for row in rows]

    async def announce(self, marker: Marker) -> None:
        """See `Catalogue.announce`."""
        await self._announcements.submit(marker)

    async def _announce(self, markers: Sequence[Marker]) -> list[None]:
        rows = [
            {"id": marker.id, **_key(marker.ref), "create_time": marker.create_time} for marker in markers
        ]
        async with self._database.transaction(concludes=False) as connection:
            await connection.execute(_ANNOUNCE, rows)
        return [None] * len(rows)

    async def withdraw(self, marker_id: str) -> None:
        """See `Catalogue.withdraw`."""
        async with self._database.transaction(concludes=False) as connection:
            await _forget(connection, [marker_id])

    async def announced(self, before: datetime) -> Sequence[Marker]:
        """See `Catalogue.announced`."""
        query = select(announcements).where(announcements.c.create_time < before)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(announcements.c.create_time).limit(SWEEP_BATCH))
            return [Marker(row.id, SecretRef(row.bot_id, row.name), row.create_time) for row in rows]

    async def record(
        self,
        ref: SecretRef,
        version: int,
        description: Description,
        marker_id: str | None,
        *,
        rotation_id: str | None = None,
    ) -> SecretMetadata:
        """See `Catalogue.record`."""
        record = _Record(ref, version, description, marker_id, rotation_id, current_call())
        metadata = await self._records.submit(record)
        if metadata is None:
            raise NotFound("SECRET_NOT_FOUND", "no such secret")
        return _as_written(metadata, version, description)

    async def _record(self, records: Sequence[_Record]) -> list[SecretMetadata | None]:
        refs = [one.ref for one in records]
        async with self._database.transaction(concludes=False) as connection:
            await _lock(connection, refs)
            await _enter_versions(connection, [(one.ref, one.version, one.description) for one in records])
            await _enter_secrets(connection, [(one.ref, one.version, one.description) for one in records])
            outdated = [_key(one.ref) | {"last": one.version - VERSIONS_KEPT} for one in records]
            await connection.execute(_DROP_OUTDATED, outdated)
            await _forget(connection, [one.marker_id for one in records if one.marker_id is not None])
            for one in records:
                if one.rotation_id is not None:
                    await conclude(connection, one.ref, one.version, one.rotation_id)
            found = await _find_all(connection, refs)
            concluded = await self._conclude(connection, [one.call for one in records])
        if concluded is not None:
            concluded()
        return [found.get(ref) for ref in refs]

    async def copy(
        self, ref: SecretRef, look: Look, *, marker_id: str | None, concludes: bool
    ) -> SecretMetadata | None:
        """See `Catalogue.copy`. The lock is held while the vault is asked, which takes no longer than its client's time limit."""
        async with self._database.transaction(concludes=concludes) as connection:
            await _lock(connection, [ref])
            picture = await look(await _described(connection, ref))
            if picture is not None:
                await _paint(connection, ref, picture)
            if marker_id is not None:
                await _forget(connection, [marker_id])
            return await _find(connection, ref)

    async def label(self, ref: SecretRef, write: Label, *, marker_id: str | None) -> None:
        """See `Catalogue.label`. As for `copy`, the lock is held while the vault is written to."""
        async with self._database.transaction(concludes=False) as connection:
            await _lock(connection, [ref])
            metadata = await _find(connection, ref)
            if metadata is not None:
                await write(metadata)
            if marker_id is not None:
                await _forget(connection, [marker_id])


def due_query(
    before: datetime | None, *, kind: SecretKind | None, after: tuple[datetime, str, str] | None
) -> Select[Any]:
    """See `PostgresCatalogue.list_due`; the index `secrets_due` has its order."""
    query = _metadata().where(secret_versions.c.state == State.ACTIVE.value)
    query = query.where(due_time < (func.now() if before is None else before))
    if kind is not None:
        query = query.where(secrets.c.kind == kind.value)
    order = (due_time, secrets.c.bot_id, secrets.c.name)
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*map(_typed, order, after)))
    return query.order_by(*order)


async def _paint(connection: AsyncConnection, ref: SecretRef, picture: Picture) -> None:
    """Enters everything of the picture, oldest version first, and drops versions that the vault has dropped."""
    for fact in picture.facts:
        description = picture.descriptions.get(fact.version)
        if description is None:
            # Of a version that cannot be read any more no more is known than when it was made.
            nothing = Description(SecretKind.GENERIC, (), fact.create_time, "", "")
            await connection.execute(_ENTER_UNDESCRIBED, [_version_row(ref, fact.version, nothing)])
        else:
            await _enter_versions(connection, [(ref, fact.version, description)])
        await _set_state(connection, ref, fact)
        if description is not None:
            await _enter_secrets(connection, [(ref, fact.version, description)])
    kept = [fact.version for fact in picture.facts]
    await connection.execute(
        delete(secret_versions).where(*_is(secret_versions, ref), secret_versions.c.version.not_in(kept))
    )


Entry = tuple[SecretRef, int, Description]
"""A version and what it says of itself."""


async def _enter_versions(connection: AsyncConnection, entries: Sequence[Entry]) -> None:
    """New rows, active; of one that is there only what its description says is completed."""
    await connection.execute(_ENTER_VERSIONS, [_version_row(*entry) for entry in entries])


async def _enter_secrets(connection: AsyncConnection, entries: Sequence[Entry]) -> None:
    """New rows; one that is there is changed if the version is newer than its own."""
    await connection.execute(_ENTER_SECRETS, [_secret_row(*entry) for entry in entries])


def _version_row(ref: SecretRef, version: int, description: Description) -> dict[str, Any]:
    return {
        **_key(ref),
        "version": version,
        "state": State.ACTIVE.value,
        "create_time": description.create_time,
        "created_by": description.created_by,
        "rolled_back_from": description.rolled_back_from,
        "rewrapped_from": description.rewrapped_from,
        "key_version": description.key_version,
    }


def _secret_row(ref: SecretRef, version: int, description: Description) -> dict[str, Any]:
    return {
        **_key(ref),
        "kind": description.kind.value,
        "version": version,
        "create_time": description.create_time,
        "update_time": description.create_time,
        "expire_time": description.expire_time,
        "rotate_time": description.rotate_time,
        "owner": description.owner,
        "field_names": list(description.field_names),
        "updated_by": description.created_by,
    }


async def _set_state(connection: AsyncConnection, ref: SecretRef, fact: VersionFact) -> None:
    """Copies the vault's state. It does not say when a version was destroyed, so that is when we learn of it."""
    gone: Any = None
    if fact.state is not State.ACTIVE:
        deleted = fact.delete_time if fact.state is State.DELETED else None
        gone = func.now() if deleted is None else deleted
    changed = update(secret_versions).values(state=fact.state.value, delete_time=gone)
    await connection.execute(
        changed.where(
            *_is(secret_versions, ref),
            secret_versions.c.version == fact.version,
            secret_versions.c.state != fact.state.value,
        )
    )


def _lock_name(ref: SecretRef) -> str:
    return f"{ref.bot_id}/{ref.name}"


async def _lock(connection: AsyncConnection, refs: Sequence[SecretRef]) -> None:
    """One writer of a secret's rows at a time, until the transaction ends."""
    await lock(connection, [_lock_name(ref) for ref in refs])


async def _forget(connection: AsyncConnection, marker_ids: Sequence[str]) -> None:
    if marker_ids:
        await connection.execute(_FORGET, {"ids": marker_ids})


async def _described(connection: AsyncConnection, ref: SecretRef) -> frozenset[int]:
    """Versions of which we know who made them."""
    query = select(secret_versions.c.version).where(
        *_is(secret_versions, ref), secret_versions.c.created_by != ""
    )
    return frozenset((await connection.execute(query)).scalars())


async def _find(connection: AsyncConnection, ref: SecretRef) -> SecretMetadata | None:
    return (await _find_all(connection, [ref])).get(ref)


async def _find_all(
    connection: AsyncConnection, refs: Sequence[SecretRef]
) -> dict[SecretRef, SecretMetadata]:
    wanted = {"bots": [ref.bot_id for ref in refs], "names": [ref.name for ref in refs]}
    found = [_to_metadata(row) for row in await connection.execute(_FIND, wanted)]
    return {metadata.ref: metadata for metadata in found}


def _metadata() -> Select[Any]:
    """Secrets with the state of their current version and the number of versions that are not destroyed."""
    counted = secret_versions.alias()
    kept = (
        select(func.count())
        .where(
            counted.c.bot_id == secrets.c.bot_id,
            counted.c.name == secrets.c.name,
            counted.c.state != State.DESTROYED.value,
        )
        .scalar_subquery()
    )
    current = (
        (secret_versions.c.bot_id == secrets.c.bot_id)
        & (secret_versions.c.name == secrets.c.name)
        & (secret_versions.c.version == secrets.c.version)
    )
    columns = (secret_versions.c.state, secret_versions.c.key_version)
    return select(secrets, *columns, kept.label("versions")).join(secret_versions, current)


def _find_statement() -> Select[Any]:
    """Metadata of the secrets that two arrays name, bots in one and names in the other."""
    uuid = Uuid(as_uuid=False)
    arrays = bindparam("bots", type_=ARRAY(uuid)), bindparam("names", type_=ARRAY(Text))
    columns = column("bot_id", uuid), column("name", Text)
    wanted = func.unnest(*arrays).table_valued(*columns).render_derived(name="wanted")
    same = (wanted.c.bot_id == secrets.c.bot_id) & (wanted.c.name == secrets.c.name)
    return _metadata().join(wanted, same)


def _enter_versions_statement() -> Insert:
    statement = insert(secret_versions)
    described = ("create_time", "created_by", "rolled_back_from", "rewrapped_from", "key_version")
    return statement.on_conflict_do_update(
        index_elements=["bot_id", "name", "version"],
        set_={name: statement.excluded[name] for name in described},
    )


def _enter_secrets_statement() -> Insert:
    statement = insert(secrets)
    current = ("version", "update_time", "expire_time", "rotate_time", "owner", "field_names", "updated_by")
    return statement.on_conflict_do_update(
        index_elements=["bot_id", "name"],
        set_={name: statement.excluded[name] for name in current},
        where=secrets.c.version < statement.excluded.version,
    )


# Made once: building a statement costs as much as sending it.
_FIND: Final = _find_statement()
_ANNOUNCE: Final = insert(announcements)
_FORGET: Final = delete(announcements).where(
    announcements.c.id == any_(bindparam("ids", type_=ARRAY(Uuid(as_uuid=False))))
)
_ENTER_VERSIONS: Final = _enter_versions_statement()
_ENTER_UNDESCRIBED: Final = insert(secret_versions).on_conflict_do_nothing(
    index_elements=["bot_id", "name", "version"]
)
_ENTER_SECRETS: Final = _enter_secrets_statement()
_DROP_OUTDATED: Final = text(
    "DELETE FROM secret_versions WHERE bot_id = CAST(:bot_id AS uuid) AND name = :name AND version <= :last"
)


def _typed(column: ColumnElement[Any], value: object) -> ColumnElement[Any]:
    return literal(value, column.type)


def _key(ref: SecretRef) -> dict[str, str]:
    return {"bot_id": ref.bot_id, "name": ref.name}


def _is(table: Table, ref: SecretRef) -> tuple[ColumnElement[bool], ...]:
    return table.c.bot_id == ref.bot_id, table.c.name == ref.name


def _to_metadata(row: Row[Any]) -> SecretMetadata:
    return SecretMetadata(
        ref=SecretRef(row.bot_id, row.name),
        kind=SecretKind(row.kind),
        version=row.version,
        versions=row.versions,
        state=State(row.state),
        create_time=row.create_time,
        update_time=row.update_time,
        expire_time=row.expire_time,
        rotate_time=row.rotate_time,
        owner=row.owner,
        field_names=tuple(row.field_names),
        updated_by=row.updated_by,
        key_version=row.key_version,
    )


def _as_written(metadata: SecretMetadata, version: int, description: Description) -> SecretMetadata:
    """The secret as this writing left it, whoever has been faster since: its caller may build on the version it is told."""
    return replace(
        metadata,
        version=version,
        state=State.ACTIVE,
        update_time=description.create_time,
        expire_time=description.expire_time,
        rotate_time=description.rotate_time,
        owner=description.owner,
        field_names=description.field_names,
        updated_by=description.created_by,
        key_version=description.key_version,
    )


def to_version(row: Row[Any]) -> VersionRecord:
    """A row of `secret_versions`."""
    return VersionRecord(
        version=row.version,
        state=State(row.state),
        create_time=row.create_time,
        delete_time=row.delete_time,
        created_by=row.created_by,
        rolled_back_from=row.rolled_back_from,
        rewrapped_from=row.rewrapped_from,
        key_version=row.key_version,
    )
