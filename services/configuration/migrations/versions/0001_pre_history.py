"""The history: head, revisions, changes; what is in force; who watches. Built-in roles come with the service, as its first revision."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from mesh.migrate import create_mesh_tables

revision = "0001"
down_revision = None

NAME = sa.Text(collation="C")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables, and a history of their own for this database."""
    create_mesh_tables(op)
    _history()
    _present_state()
    _bookkeeping()
    op.execute("INSERT INTO config_head (history_id) VALUES (gen_random_uuid())")


def _history() -> None:
    op.create_table(
        "config_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False, server_default=sa.text("1")),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("history_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("oldest_revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("commit_time", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("built_in_release", sa.Text, nullable=False, server_default=""),
        sa.CheckConstraint("id = 1", name="config_head_single"),
    )
    op.create_table(
        "revisions",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("approver", sa.Text, nullable=False, server_default=""),
        sa.Column("comment", sa.Text, nullable=False, server_default=""),
        sa.Column("create_time", TIME, nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", NAME, primary_key=True),
        sa.Column("subject", NAME, primary_key=True),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("old", JSONB),
        sa.Column("new", JSONB),
        sa.Column("effective", JSONB),
    )
    op.create_index("changes_of_subject", "changes", ["kind", "subject", "revision"])


def _present_state() -> None:
    op.create_table(
        "definitions",
        sa.Column("key", NAME, primary_key=True),
        sa.Column("owner", NAME, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("document", JSONB, nullable=False),
    )
    op.create_table(
        "settings",
        sa.Column("key", NAME, primary_key=True),
        sa.Column("value", JSONB),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
    )
    op.create_table(
        "roles",
        sa.Column("id", NAME, primary_key=True),
        sa.Column("permissions", JSONB, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("built_in", sa.Boolean, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.Column("update_time", TIME, nullable=False),
    )
    op.create_table(
        "role_bindings",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("subject", NAME, nullable=False),
        sa.Column("role_id", NAME, nullable=False),
        sa.Column("bot_id", NAME, nullable=False, server_default=""),
        sa.Column("create_actor", sa.Text, nullable=False),
        sa.Column("create_time", TIME, nullable=False),
        sa.UniqueConstraint("subject", "role_id", "bot_id", name="role_bindings_once"),
    )
    op.create_index("role_bindings_of_role", "role_bindings", ["role_id"])


def _bookkeeping() -> None:
    op.create_table(
        "instances",
        sa.Column("service", NAME, primary_key=True),
        sa.Column("instance", NAME, primary_key=True),
        sa.Column("history_id", sa.Uuid(as_uuid=False)),
        sa.Column("applied_revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("refused_revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("refusals", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("restart_pending", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("connect_time", TIME),
        sa.Column("last_seen_time", TIME, nullable=False),
    )
    op.create_index("instances_seen", "instances", ["last_seen_time"])
    op.create_table(
        "idempotency",
        sa.Column("request_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("method", sa.Text, primary_key=True),
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("response", JSONB, nullable=False),
        sa.Column("create_time", TIME, nullable=False, server_default=sa.func.now()),
    )
    op.create_index("idempotency_age", "idempotency", ["create_time"])
