"""The first tables: records in daily partitions, audit events that can only be added to.

The service may not create tables, so the owner leaves it a function that makes one day's partition and nothing else.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON, JSONB

from mesh.migrate import create_mesh_tables

revision = "0001"
down_revision = None

_ENSURE_DAY = """
CREATE FUNCTION ensure_day(day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = logging AS $$
BEGIN
  EXECUTE format(
    'CREATE TABLE IF NOT EXISTS %I PARTITION OF records FOR VALUES FROM (%L) TO (%L)',
    'records_' || to_char(day, 'YYYYMMDD'), day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
  );
END $$
"""


def upgrade() -> None:
    """Make the tables."""
    create_mesh_tables(op)
    _create_records()
    op.create_table(
        "rejected",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    _create_audit_events()


def _create_records() -> None:
    op.create_table(
        "records",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("time", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("observed_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("category", sa.SmallInteger, nullable=False),
        sa.Column("severity", sa.SmallInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in (
                "severity_text",
                "body",
                "service",
                "instance",
                "service_version",
                "actor",
                "bot_id",
                "request_id",
                "trace_id",
                "span_id",
            )
        ),
        sa.Column("attributes", JSONB, nullable=False),
        postgresql_partition_by="RANGE (time)",
    )
    op.create_index("records_time", "records", ["time"], postgresql_using="brin")
    op.create_index("records_service", "records", ["service", "time"])
    op.create_index("records_bot", "records", ["bot_id", "time"], postgresql_where=sa.text("bot_id <> ''"))
    op.create_index(
        "records_request", "records", ["request_id", "time"], postgresql_where=sa.text("request_id <> ''")
    )
    op.execute("CREATE TABLE records_other PARTITION OF records DEFAULT")
    op.execute(_ENSURE_DAY)
    op.execute("REVOKE ALL ON FUNCTION ensure_day(date) FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION ensure_day(date) TO logging")


def _create_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False, unique=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in (
                "service",
                "actor",
                "action",
                "resource",
                "outcome",
                "reason",
                "bot_id",
                "request_id",
                "trace_id",
                "peer",
                "peer_identity",
                "user_agent",
                "session_id",
            )
        ),
        sa.Column("request", JSON, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary, nullable=False),
    )
    op.create_index("audit_events_time", "audit_events", ["time"])
    op.create_index("audit_events_actor", "audit_events", ["actor", "sequence"])
    # What is on the trail stays: the service may add and read, and neither change nor remove.
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON audit_events FROM logging")
