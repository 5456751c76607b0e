"""The tables of the schema `configuration`. `changes` is the record; settings, definitions, roles and bindings are its present state.

Names sort bytewise (collation C), so that pages and lists have one order whatever the server's locale.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

NAME = Text(collation="C")
TIME = DateTime(timezone=True)
DOCUMENT = JSONB(none_as_null=True)
"""A JSON object, or NULL where there is none."""

config_head = Table(
    "config_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, server_default=text("1")),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    Column("history_id", Uuid(as_uuid=False), nullable=False),
    Column("oldest_revision", BigInteger, nullable=False, server_default=text("0")),
    Column("commit_time", TIME, nullable=False, server_default=func.now()),
    Column("built_in_release", Text, nullable=False, server_default=""),
    CheckConstraint("id = 1", name="config_head_single"),
)
"""One row. Whoever writes locks it first, so revisions are numbered in the order of their commits."""

revisions = Table(
    "revisions",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("actor", Text, nullable=False),
    Column("approver", Text, nullable=False, server_default=""),
    Column("comment", Text, nullable=False, server_default=""),
    Column("create_time", TIME, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", NAME, primary_key=True),
    Column("subject", NAME, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("old", DOCUMENT),
    Column("new", DOCUMENT),
    Column("effective", DOCUMENT),
    Index("changes_of_subject", "kind", "subject", "revision"),
)
"""Append-only. Documents are those of `store/documents.py`."""

definitions = Table(
    "definitions",
    metadata,
    Column("key", NAME, primary_key=True),
    Column("owner", NAME, nullable=False),
    Column("release", Text, nullable=False),
    Column("document", DOCUMENT, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("key", NAME, primary_key=True),
    Column("value", DOCUMENT),
    Column("revision", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("update_time", TIME, nullable=False),
)
"""Settings that were ever changed; `value` is NULL after a reset, else `{"value": …}`."""

setting_changes = Table(
    "setting_changes",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("state", NAME, nullable=False),
    Column("items", JSONB, nullable=False),
    Column("actor", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("plan", DOCUMENT),
    Column("approver", Text, nullable=False),
    Column("decider", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("steps_taken", Integer, nullable=False),
    Column("share_percent", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("staged_revision", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("update_time", TIME, nullable=False),
    Column("expire_time", TIME),
    Column("next_time", TIME),
    Index("setting_changes_due", "next_time", postgresql_where=text("next_time IS NOT NULL")),
    Index("setting_changes_by_state", "state", "id"),
)
"""Changes that are, or were, on their way. `next_time` is set while something comes of them by itself."""

pending_settings = Table(
    "pending_settings",
    metadata,
    Column("key", NAME, primary_key=True),
    Column("change_id", Uuid(as_uuid=False), nullable=False),
    Column("staged", DOCUMENT),
    Index("pending_settings_of_change", "change_id"),
)
"""Settings held by a change on its way: one change a setting. `staged` is what a share of the instances uses."""

instance_calls = Table(
    "instance_calls",
    metadata,
    Column("service", NAME, primary_key=True),
    Column("instance", NAME, primary_key=True),
    Column("count_time", TIME, primary_key=True),
    Column("report_time", TIME, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Index("instance_calls_age", "report_time"),
)
"""What instances told of their calls: totals since `count_time`, of the last hour."""

roles = Table(
    "roles",
    metadata,
    Column("id", NAME, primary_key=True),
    Column("permissions", JSONB, nullable=False),
    Column("description", Text, nullable=False),
    Column("built_in", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("create_time", TIME, nullable=False),
    Column("update_time", TIME, nullable=False),
)

role_bindings = Table(
    "role_bindings",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("subject", NAME, nullable=False),
    Column("role_id", NAME, nullable=False),
    Column("bot_id", NAME, nullable=False, server_default=""),
    Column("create_actor", Text, nullable=False),
    Column("create_time", TIME, nullable=False),
    UniqueConstraint("subject", "role_id", "bot_id", name="role_bindings_once"),
    Index("role_bindings_of_role", "role_id"),
)

instances = Table(
    "instances",
    metadata,
    Column("service", NAME, primary_key=True),
    Column("instance", NAME, primary_key=True),
    Column("history_id", Uuid(as_uuid=False)),
    Column("applied_revision", BigInteger, nullable=False, server_default=text("0")),
    Column("refused_revision", BigInteger, nullable=False, server_default=text("0")),
    Column("refusals", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("restart_pending", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("connect_time", TIME),
    Column("last_seen_time", TIME, nullable=False),
    Index("instances_seen", "last_seen_time"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("request_id", Uuid(as_uuid=False), primary_key=True),
    Column("method", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("response", JSONB, nullable=False),
    Column("create_time", TIME, nullable=False, server_default=func.now()),
    Index("idempotency_age", "create_time"),
)
