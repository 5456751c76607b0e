"""Tables of the schema `logging`.

`records` is partitioned by day so that retention drops partitions and never deletes rows; a default partition takes what lies outside.
Duplicates are dropped by (id, time): a record that is delivered again carries the same time.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

metadata = MetaData()

records = Table(
    "records",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("time", DateTime(timezone=True), primary_key=True),
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
    Index("records_time", "time", postgresql_using="brin"),
    Index("records_service", "service", "time"),
    Index("records_bot", "bot_id", "time", postgresql_where=text("bot_id <> ''")),
    Index("records_request", "request_id", "time", postgresql_where=text("request_id <> ''")),
    postgresql_partition_by="RANGE (time)",
)

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
    Index("audit_events_time", "time"),
    Index("audit_events_actor", "actor", "sequence"),
)
