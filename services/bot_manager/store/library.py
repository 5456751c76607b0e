"""Media on PostgreSQL: what is known of each file, and its bytes in pieces.

A file comes into being piece by piece, each in a transaction of its own, under an id that nobody can see; the last transaction makes it
visible. What is left of an upload that ended early goes when its short time is up, as every file does that no post needs.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import NotFound
from services.bot_manager.domain.happenings import Happening, media_state_changed
from services.bot_manager.domain.media import CHUNK_BYTES, MediaKind, MediaState, Medium
from services.bot_manager.domain.model import PostState
from services.bot_manager.domain.recurrence.model import ScheduleState
from services.bot_manager.events.announcing import announce
from services.bot_manager.store.ports import RequestKey
from services.bot_manager.store.requests import first_result, recall
from services.bot_manager.store.tables import post_parts, posts
from services.bot_manager.store.tables.library import media, media_chunks
from services.bot_manager.store.tables.recurring import schedules

OVER: Final = (PostState.PUBLISHED, PostState.CANCELLED, PostState.FAILED, PostState.MISSED)
REPEATABLE: Final = (PostState.CANCELLED, PostState.FAILED, PostState.MISSED)
"""States from which a person may send the post again; its media stay for a while longer."""
_VISIBLE: Final = media.c.state != MediaState.UPLOADING.value


class PostgresLibrary:
    """Implements what `media/` asks of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, medium_id: str, bot_id: str, now: datetime, until: datetime) -> None:
        """Open an upload that is forgotten at `until` unless it goes on."""
        blank = Medium(medium_id, "", MediaKind.IMAGE, MediaState.UPLOADING, 0, "", now, until, bot_id)
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(insert(media), [{**_values(blank), "kind": ""}])

    async def add(self, medium_id: str, index: int, data: bytes, until: datetime) -> None:
        """The next piece of an upload. Raises NotFound (MEDIA_NOT_FOUND) if the upload was forgotten meanwhile."""
        mine = and_(media.c.id == medium_id, ~_VISIBLE)
        async with self._database.transaction(concludes=False, wake=False) as connection:
            kept = await connection.execute(
                update(media).where(mine).values(expire_time=until).returning(media.c.id)
            )
            if kept.one_or_none() is None:
                raise missing(medium_id)
            await connection.execute(
                insert(media_chunks), [{"media_id": medium_id, "index": index, "data": data}]
            )

    async def complete(self, medium: Medium, key: RequestKey | None) -> Medium:
        """Make an upload visible, or answer the one that the key made before. Concludes the call.

        Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED), NotFound (MEDIA_NOT_FOUND) if the upload was forgotten meanwhile.
        """
        async with self._database.transaction() as connection:
            first = await first_result(connection, key, medium.id, medium.create_time) if key else None
            if first is not None:
                await connection.execute(delete(media).where(media.c.id == medium.id))
                return await _get(connection, first)
            done = await connection.execute(
                update(media)
                .where(media.c.id == medium.id, ~_VISIBLE)
                .values(_values(medium))
                .returning(media.c.id)
            )
            if done.one_or_none() is None:
                raise missing(medium.id)
            told = _step(medium, MediaState.PROCESSING, medium.state, f"{_name(medium)} may be used")
            await announce(connection, medium.create_time, told)
        return medium

    async def abandon(self, medium_id: str) -> None:
        """Drop an upload."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(delete(media).where(media.c.id == medium_id, ~_VISIBLE))

    async def recall(self, key: RequestKey, now: datetime) -> Medium | None:
        """What the key stands for. Raises InvalidArgument (IDEMPOTENCY_KEY_REUSED), NotFound (MEDIA_NOT_FOUND)."""
        async with self._database.read() as connection:
            first = await recall(connection, key, now)
            return None if first is None else await _get(connection, first)

    async def get(self, medium_id: str) -> Medium:
        """Raises NotFound (MEDIA_NOT_FOUND)."""
        async with self._database.read() as connection:
            return await _get(connection, medium_id)

    async def find(self, ids: Sequence[str]) -> Mapping[str, Medium]:
        """Those that exist, by id."""
        query = select(media).where(media.c.id.in_(sorted(set(ids))), _VISIBLE)
        async with self._database.read() as connection:
            return {row.id: to_medium(row) for row in await connection.execute(query)}

    async def keep(self, ids: Sequence[str], until: datetime) -> Mapping[str, Medium]:
        """As `find`, and none of them is deleted before `until`."""
        query = (
            update(media)
            .where(media.c.id.in_(sorted(set(ids))), _VISIBLE)
            .values(expire_time=func.greatest(media.c.expire_time, until))
            .returning(media)
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            return {row.id: to_medium(row) for row in await connection.execute(query)}

    async def fail(self, medium_id: str, message: str, now: datetime) -> None:
        """X cannot use it, and why."""
        mine = select(media).where(media.c.id == medium_id, _VISIBLE).with_for_update()
        async with self._database.transaction(concludes=False) as connection:
            row = (await connection.execute(mine)).one_or_none()
            if row is None:
                return
            await connection.execute(
                update(media)
                .where(media.c.id == medium_id)
                .values(state=MediaState.FAILED.value, failure_message=message, version=media.c.version + 1)
            )
            medium = to_medium(row)
            if medium.state is not MediaState.FAILED:
                said = f"X cannot use {_name(medium)}: {message}"
                await announce(connection, now, _step(medium, medium.state, MediaState.FAILED, said))

    async def read(self, medium_id: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on, of an upload too."""
        first, last = offset // CHUNK_BYTES, max(offset + length - 1, offset) // CHUNK_BYTES
        here = offset - first * CHUNK_BYTES
        data = media_chunks.c.data
        wanted = func.substring(data, here + 1, length) if first == last else data
        query = (
            select(wanted)
            .where(media_chunks.c.media_id == medium_id, media_chunks.c.index.between(first, last))
            .order_by(media_chunks.c.index)
        )
        async with self._database.read() as connection:
            pieces = [bytes(piece) for piece in (await connection.execute(query)).scalars()]
        if first == last:
            return b"".join(pieces)
        return b"".join(pieces)[here : here + length]

    async def prune(self, now: datetime, keep: timedelta, limit: int) -> int:
        """Delete up to `limit` files whose time is up and that no post or schedule needs, and uploads that ended early; how many.

        A post that is over and may be sent again needs its media for `keep` after it ended.
        """
        expired = (
            select(media.c.id)
            .where(media.c.expire_time <= now, ~_needed(now - keep))
            .order_by(media.c.expire_time)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with self._database.transaction(concludes=False, wake=False) as connection:
            gone = await connection.execute(
                delete(media).where(media.c.id.in_(expired)).returning(media.c.id)
            )
            return len(gone.all())


def _needed(ended_after: datetime) -> ColumnElement[bool]:
    """Whether a post needs the file, or one that a schedule is going to make."""
    id_alone = func.jsonb_build_array(cast(media.c.id, Text), type_=JSONB)
    living = posts.c.state.not_in([state.value for state in OVER])
    may_return = and_(
        posts.c.state.in_([state.value for state in REPEATABLE]), posts.c.update_time > ended_after
    )
    shown = exists().where(
        posts.c.id == post_parts.c.post_id,
        post_parts.c.media_ids != literal_column("'[]'::jsonb"),
        post_parts.c.media_ids.contains(id_alone),
        or_(living, may_return),
    )
    # Wherever the content names it, in whatever case somebody wrote it: schedules are few, and a file kept too long harms nobody.
    content = func.lower(cast(schedules.c.content, Text))
    going_to_be = exists().where(
        schedules.c.state != ScheduleState.COMPLETED.value,
        func.strpos(content, cast(media.c.id, Text)) > 0,
    )
    return or_(shown, going_to_be)


async def _get(connection: AsyncConnection, medium_id: str) -> Medium:
    row = (await connection.execute(select(media).where(media.c.id == medium_id, _VISIBLE))).one_or_none()
    if row is None:
        raise missing(medium_id)
    return to_medium(row)


def _step(medium: Medium, before: MediaState, after: MediaState, message: str) -> Happening:
    return media_state_changed(medium.id, before.value, after.value, message, bot_id=medium.bot_id)


def _name(medium: Medium) -> str:
    return f"the file {medium.filename or medium.id}"


def missing(medium_id: str) -> NotFound:
    """The answer for a file that does not exist, or not for the one who asks."""
    return NotFound("MEDIA_NOT_FOUND", "no such media", metadata={"mediaId": medium_id})


def to_medium(row: Row[Any]) -> Medium:
    """A row of `media` that is visible."""
    return Medium(
        id=row.id,
        bot_id=row.bot_id or "",
        filename=row.filename,
        content_type=row.content_type,
        kind=MediaKind(row.kind),
        state=MediaState(row.state),
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        width=row.width,
        height=row.height,
        duration=None if row.duration_ms is None else timedelta(milliseconds=row.duration_ms),
        alt_text=row.alt_text,
        failure_message=row.failure_message,
        create_time=row.create_time,
        expire_time=row.expire_time,
        version=row.version,
    )


def _values(medium: Medium) -> dict[str, Any]:
    duration = medium.duration
    return {
        "id": medium.id,
        "bot_id": medium.bot_id or None,
        "filename": medium.filename,
        "content_type": medium.content_type,
        "kind": medium.kind.value,
        "state": medium.state.value,
        "size_bytes": medium.size_bytes,
        "sha256": medium.sha256,
        "width": medium.width,
        "height": medium.height,
        "duration_ms": None if duration is None else round(duration / timedelta(milliseconds=1)),
        "alt_text": medium.alt_text,
        "failure_message": medium.failure_message,
        "create_time": medium.create_time,
        "expire_time": medium.expire_time,
        "version": medium.version,
    }
