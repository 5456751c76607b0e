"""Tables of the schema `logging`.

`records` is partitioned by category and day so that retention drops partitions and never deletes rows; one default partition a category
takes what lies outside. Duplicates are dropped by (time, id) within a category: a record that is delivered again carries the same time.

A transaction that stores records is a batch. Its id, on every row, is taken when it begins; its number when it ends, under the lock of
the one row of `batch_numbers`, so that numbers become visible in their order and without gaps.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    Uuid,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

metadata = MetaData()

records = Table(
    "records",
    metadata,
    Column("id", Uuid(as_uuid=False), nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("observed_time", DateTime(timezone=True), nullable=False),
    Column("category", SmallInteger, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("severity_text", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("service_version", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("bot_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("span_id", Text, nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("batch", BigInteger, nullable=False, server_default=text("0")),
    Index("records_time", "time", postgresql_using="brin"),
    Index("records_batch", "batch", postgresql_using="brin"),
    Index("records_service", "service", "time"),
    Index("records_bot", "bot_id", "time", postgresql_where=text("bot_id <> ''")),
    Index("records_request", "request_id", "time", postgresql_where=text("request_id <> ''")),
    Index("records_trace", "trace_id", "time", postgresql_where=text("trace_id <> ''")),
    Index("records_actor", "actor", "time", postgresql_where=text("actor <> ''")),
    Index("records_severe", "time", "id", "severity", postgresql_where=text("severity >= 13")),
    Index("records_text", text("to_tsvector('simple', body)"), postgresql_using="gin"),
    postgresql_partition_by="LIST (category)",
)
"""Each category's table has a unique index on (time, id) of its own."""

batch_ids = Sequence("batch_ids", metadata=metadata)

batches = Table(
    "batches",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, nullable=False, unique=True),
    Column("store_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("first_time", DateTime(timezone=True), nullable=False),
    Column("last_time", DateTime(timezone=True), nullable=False),
    Column("record_count", Integer, nullable=False),
    Index("batches_store_time", "store_time"),
)
"""`first_time` and `last_time` bound the times of the batch's records."""

batch_numbers = Table(
    "batch_numbers",
    metadata,
    Column("one", Boolean, CheckConstraint("one"), primary_key=True),
    Column("last", BigInteger, nullable=False),
)

record_counts = Table(
    "record_counts",
    metadata,
    Column("minute", DateTime(timezone=True), primary_key=True),
    Column("category", SmallInteger, primary_key=True, autoincrement=False),
    Column("severity", SmallInteger, primary_key=True, autoincrement=False),
    Column("service", Text, primary_key=True),
    Column("writer", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
"""How many records there are, kept by the transactions that store them; `writer` is the instance, so that replicas do not wait."""

rejected = Table(
    "rejected",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("subject", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("chain", Text, primary_key=True, server_default="main"),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Uuid(as_uuid=False), nullable=False, unique=True),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("service", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("bot_id", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("peer_identity", Text, nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("request", JSON, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("format", SmallInteger, nullable=False, server_default="1"),
    Column("commitment", LargeBinary),
    Column("salt", LargeBinary),
    Column("erased", Boolean, nullable=False, server_default=false()),
    Index("audit_events_time", "time"),
    Index("audit_events_actor", "actor", "sequence"),
    Index("audit_events_bot", "bot_id", "sequence", postgresql_where=text("bot_id <> ''")),
    Index("audit_events_request", "request_id", "sequence", postgresql_where=text("request_id <> ''")),
)
"""The service may add and read. `erase_audit_actor` and `remove_audit_events`, the owner's, do the two removals that are allowed."""

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, primary_key=True),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("note", Text, nullable=False),
    Column("verifier_key", Text, nullable=False),
)
"""The hash belongs to the key: two statements about one event that differ are kept both, and are the proof that something is wrong."""

audit_tombstones = Table(
    "audit_tombstones",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("last_sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("last_hash", LargeBinary, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("note", Text, nullable=False),
    Column("verifier_key", Text, nullable=False),
)
