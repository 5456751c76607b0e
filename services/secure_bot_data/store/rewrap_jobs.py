"""Rewrap jobs in PostgreSQL: implements `domain.key_ports.RewrapJobs`, and answers their list.

A unique index lets one job run. An advisory lock lets one replica work on it: the lock belongs to the transaction that writes the progress
down, so it ends with the replica, and whoever comes after sees either all of a batch or nothing of it. The job's row is not locked meanwhile,
so that it can be read and cancelled at any time.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, case, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.database import Database
from mesh.errors import FailedPrecondition, NotFound
from services.secure_bot_data.domain.key_ports import Progress, Work
from services.secure_bot_data.domain.model import JobState, RewrapJob, SecretRef
from services.secure_bot_data.store.tables import rewrap_jobs, secrets

LOCK: Final = "rewrap job"


class PostgresRewrapJobs:
    """The jobs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def start(self, job: RewrapJob) -> RewrapJob:
        """See `RewrapJobs.start`."""
        values = {
            "id": job.id,
            "state": job.state.value,
            "target_key_version": job.target,
            "destroy_earlier": job.destroy_earlier,
            "total_count": select(func.count()).select_from(secrets).scalar_subquery(),
            "rewrapped_count": 0,
            "skipped_count": 0,
            "failed_count": 0,
            "last_failure": "",
            "after_name": "",
            "create_time": job.create_time,
            "update_time": job.update_time,
            "created_by": job.created_by,
        }
        statement = insert(rewrap_jobs).values(**values).on_conflict_do_nothing().returning(rewrap_jobs)
        async with self._database.transaction() as connection:
            row = (await connection.execute(statement)).one_or_none()
            if row is None:
                raise _other_runs(await _running(connection))
            return _to_job(row)

    async def get(self, job_id: str) -> RewrapJob:
        """See `RewrapJobs.get`."""
        query = select(rewrap_jobs).where(rewrap_jobs.c.id == job_id)
        async with self._database.read() as connection:
            return _found((await connection.execute(query)).one_or_none())

    async def list_jobs(self, *, before: str | None, limit: int) -> list[RewrapJob]:
        """Jobs, newest first, those older than the one with id `before`."""
        query = select(rewrap_jobs)
        if before is not None:
            query = query.where(rewrap_jobs.c.id < before)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(rewrap_jobs.c.id.desc()).limit(limit))
            return [_to_job(row) for row in rows]

    async def cancel(self, job_id: str, now: datetime) -> RewrapJob:
        """See `RewrapJobs.cancel`."""
        ended = update(rewrap_jobs).where(
            rewrap_jobs.c.id == job_id, rewrap_jobs.c.state == JobState.RUNNING.value
        )
        query = select(rewrap_jobs).where(rewrap_jobs.c.id == job_id)
        async with self._database.transaction() as connection:
            await connection.execute(ended.values(state=JobState.CANCELLED.value, end_time=now))
            return _found((await connection.execute(query)).one_or_none())

    async def running(self) -> RewrapJob | None:
        """See `RewrapJobs.running`."""
        async with self._database.read() as connection:
            row = await _running(connection)
            return None if row is None else _to_job(row)

    async def advance(self, work: Work, limit: int, now: Callable[[], datetime]) -> RewrapJob | None:
        """See `RewrapJobs.advance`. What takes longer than a transaction may last is done again; it is recognised then."""
        async with self._database.transaction(concludes=False) as connection:
            if not await _is_ours(connection):
                return None
            row = await _running(connection)
            if row is None:
                return None
            refs = await _behind(connection, row, limit)
            progress = await work(_to_job(row), refs)
            return await _enter(connection, row.id, refs[: progress.done], progress, now())


async def _is_ours(connection: AsyncConnection) -> bool:
    """Whether this replica is the one that works, until the transaction ends."""
    lock = func.pg_try_advisory_xact_lock(func.hashtextextended(LOCK, 0))
    return bool((await connection.execute(select(lock))).scalar_one())


async def _running(connection: AsyncConnection) -> Row[Any] | None:
    query = select(rewrap_jobs).where(rewrap_jobs.c.state == JobState.RUNNING.value)
    return (await connection.execute(query)).one_or_none()


async def _behind(connection: AsyncConnection, job: Row[Any], limit: int) -> list[SecretRef]:
    """The secrets that come next."""
    place = tuple_(secrets.c.bot_id, secrets.c.name)
    query = select(secrets.c.bot_id, secrets.c.name)
    if job.after_bot_id is not None:
        # A tuple does not lend its columns' types to what it is compared with.
        after = tuple_(literal(job.after_bot_id, secrets.c.bot_id.type), job.after_name)
        query = query.where(place > after)
    rows = await connection.execute(query.order_by(secrets.c.bot_id, secrets.c.name).limit(limit))
    return [SecretRef(row.bot_id, row.name) for row in rows]


async def _enter(
    connection: AsyncConnection, job_id: str, done: Sequence[SecretRef], progress: Progress, now: datetime
) -> RewrapJob:
    """Writes the progress down; a job that somebody has cancelled meanwhile stays cancelled."""
    table = rewrap_jobs.c
    values: dict[str, Any] = {
        "rewrapped_count": table.rewrapped_count + progress.rewrapped,
        "skipped_count": table.skipped_count + progress.skipped,
        "failed_count": table.failed_count + progress.failed,
    }
    if done:
        values |= {"after_bot_id": done[-1].bot_id, "after_name": done[-1].name, "update_time": now}
    if progress.last_failure:
        values["last_failure"] = progress.last_failure
    if progress.end is not None:
        runs = table.state == JobState.RUNNING.value
        values["state"] = case((runs, progress.end.value), else_=table.state)
        values["end_time"] = case((runs, now), else_=table.end_time)
    statement = update(rewrap_jobs).where(table.id == job_id).values(**values).returning(rewrap_jobs)
    return _to_job((await connection.execute(statement)).one())


def _other_runs(row: Row[Any] | None) -> FailedPrecondition:
    # None: it ended just now.
    metadata = {} if row is None else {"jobId": row.id}
    return FailedPrecondition(
        "REWRAP_RUNNING", "another job that rewraps secrets is running", metadata=metadata
    )


def _found(row: Row[Any] | None) -> RewrapJob:
    if row is None:
        raise NotFound("REWRAP_JOB_NOT_FOUND", "no such job")
    return _to_job(row)


def _to_job(row: Row[Any]) -> RewrapJob:
    return RewrapJob(
        id=row.id,
        state=JobState(row.state),
        target=row.target_key_version,
        destroy_earlier=row.destroy_earlier,
        create_time=row.create_time,
        update_time=row.update_time,
        created_by=row.created_by,
        end_time=row.end_time,
        total_count=row.total_count,
        rewrapped_count=row.rewrapped_count,
        skipped_count=row.skipped_count,
        failed_count=row.failed_count,
        last_failure=row.last_failure,
    )
