"""The end of a transaction that stores records: what it adds to the counts, and its number in the order of batches.

Numbers are taken under the lock of one row, which is held until the commit: whoever sees number n has all before it. So this is the
last that a transaction does.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.logging.domain.records import Record
from services.logging.store.tables import batch_ids

CountKey = tuple[object, int, int, str]

_ID = select(batch_ids.next_value())
# Rows are taken in one order by everybody, so that two transactions never wait for each other.
_ADD_COUNTS = text(
    "INSERT INTO record_counts AS c (minute, category, severity, service, writer, count)"
    " SELECT minute, category, severity, service, :writer, count FROM unnest("
    "CAST(:minutes AS timestamptz[]), CAST(:categories AS smallint[]), CAST(:severities AS smallint[]),"
    " CAST(:services AS text[]), CAST(:counts AS bigint[])) AS added (minute, category, severity, service, count)"
    " ORDER BY minute, category, severity, service"
    " ON CONFLICT (minute, category, severity, service, writer) DO UPDATE SET count = c.count + excluded.count"
)
_NUMBER = text(
    "WITH next AS (UPDATE batch_numbers SET last = last + 1 RETURNING last)"
    " INSERT INTO batches (number, id, first_time, last_time, record_count)"
    " SELECT last, :id, :first_time, :last_time, :record_count FROM next RETURNING number"
)


async def begin_batch(connection: AsyncConnection) -> int:
    """A new batch's id, for its rows."""
    return int((await connection.execute(_ID)).scalar_one())


async def end_batch(connection: AsyncConnection, batch: int, stored: Sequence[Record], writer: str) -> int:
    """Count what was stored, at least one record, and give the batch its number, which is returned. Commit right after it."""
    counts = _counts(stored)
    await connection.execute(
        _ADD_COUNTS,
        {
            "writer": writer,
            "minutes": [key[0] for key in counts],
            "categories": [key[1] for key in counts],
            "severities": [key[2] for key in counts],
            "services": [key[3] for key in counts],
            "counts": list(counts.values()),
        },
    )
    times = [record.time for record in stored]
    numbered = await connection.execute(
        _NUMBER,
        {"id": batch, "first_time": min(times), "last_time": max(times), "record_count": len(stored)},
    )
    return int(numbered.scalar_one())


def _counts(records: Iterable[Record]) -> Counter[CountKey]:
    """Records by minute, category, severity and service."""
    return Counter(
        (record.time.replace(second=0, microsecond=0), record.category, record.severity, record.service)
        for record in records
    )
