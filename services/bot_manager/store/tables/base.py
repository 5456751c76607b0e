"""What every module of tables shares: the metadata, and the types of columns.

Names are unqualified: the role's search_path is its schema. Text that is compared or sorted has collation C, so that lists have one
order whatever the server's locale.
"""

from sqlalchemy import BigInteger, Column, DateTime, MetaData, Sequence, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

NAME = Text(collation="C")
TIME = DateTime(timezone=True)
ID = Uuid(as_uuid=False)
DOCUMENT = JSONB(none_as_null=True)
"""A JSON object or array, or NULL where there is none."""

EVENT_NUMBERS = Sequence("event_numbers", metadata=metadata)
"""Numbers of all that is told to those who watch, in the order in which it was written."""


def event_columns() -> tuple[Column[int], Column[int]]:
    """What makes rows of a table readable in the order of commits; see `events/ticks.py`. PostgreSQL fills them, nobody else does.

    `transaction` is the id of the transaction that wrote the row, `event_number` its place among what was written. NULL in rows older
    than these columns, which are never told.
    """
    return (
        Column(
            "transaction",
            BigInteger,
            server_default=text("CAST(CAST(pg_current_xact_id() AS text) AS bigint)"),
        ),
        Column("event_number", BigInteger, server_default=EVENT_NUMBERS.next_value()),
    )
