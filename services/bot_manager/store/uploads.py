"""How far each file has come on its way to each account on X, on PostgreSQL.

One row a file and account. Whoever goes on with an upload seizes its row for a while, so that two posts with the same picture, in
whatever replica, send it once; a holder that died is followed when its time is up, from where it last wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert

from mesh.database import Database
from services.bot_manager.store.tables.library import x_media


class Stage(StrEnum):
    """Where an upload stands."""

    NEW = "NEW"
    """X has not heard of it."""
    SENDING = "SENDING"
    """X has some of its segments: those before `next_segment`."""
    PROCESSING = "PROCESSING"
    """X has all of it and looks at it."""
    READY = "READY"
    """A post may name it until `expire_time`."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The upload of one file to one account. `begin_time` is when X first heard of it, `sent_time` when it had all bytes."""

    media_id: str
    account: str
    begin_time: datetime
    stage: Stage = Stage.NEW
    x_media_id: str = ""
    next_segment: int = 0
    described: bool = False
    restarts: int = 0
    failures: int = 0
    """In a row, of reaching X."""
    sent_time: datetime | None = None
    check_time: datetime | None = None
    """When X wants to be asked next."""
    expire_time: datetime | None = None

    def is_usable(self, at: datetime) -> bool:
        """Whether a post may name it at that time."""
        return self.stage is Stage.READY and self.expire_time is not None and self.expire_time > at


class PostgresUploads:
    """Implements what the uploader asks of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, ids: Sequence[str], account: str) -> Mapping[str, Upload]:
        """What is known, by id of the file."""
        query = select(x_media).where(x_media.c.media_id.in_(sorted(set(ids))), x_media.c.account == account)
        async with self._database.read() as connection:
            return {row.media_id: _to_upload(row) for row in await connection.execute(query)}

    async def seize(self, media_id: str, account: str, now: datetime, until: datetime) -> Upload | None:
        """Go on with an upload, alone until then; None while somebody else does."""
        begun = insert(x_media).values(
            **_values(Upload(media_id, account, now)), media_id=media_id, account=account, busy_until=until
        )
        query = begun.on_conflict_do_update(
            index_elements=[x_media.c.media_id, x_media.c.account],
            set_={"busy_until": begun.excluded.busy_until},
            where=x_media.c.busy_until <= now,
        ).returning(x_media)
        async with self._database.transaction(concludes=False, wake=False) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _to_upload(row)

    async def save(self, upload: Upload, busy_until: datetime) -> None:
        """Write how far it has come."""
        async with self._database.transaction(concludes=False, wake=False) as connection:
            await connection.execute(
                update(x_media)
                .where(x_media.c.media_id == upload.media_id, x_media.c.account == upload.account)
                .values(**_values(upload), busy_until=busy_until)
            )


def _to_upload(row: Row[Any]) -> Upload:
    return Upload(
        media_id=row.media_id,
        account=row.account,
        stage=Stage(row.stage),
        x_media_id=row.x_media_id,
        next_segment=row.next_segment,
        described=row.described,
        restarts=row.restarts,
        failures=row.failures,
        begin_time=row.begin_time,
        sent_time=row.sent_time,
        check_time=row.check_time,
        expire_time=row.expire_time,
    )


def _values(upload: Upload) -> dict[str, Any]:
    return {
        "stage": upload.stage.value,
        "x_media_id": upload.x_media_id,
        "next_segment": upload.next_segment,
        "described": upload.described,
        "restarts": upload.restarts,
        "failures": upload.failures,
        "begin_time": upload.begin_time,
        "sent_time": upload.sent_time,
        "check_time": upload.check_time,
        "expire_time": upload.expire_time,
    }
