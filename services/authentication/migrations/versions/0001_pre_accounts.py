"""Accounts, sessions, refresh tokens, signing keys, counts of attempts; and the tables that every service has."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from mesh.migrate import create_mesh_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    """Make everything."""
    create_mesh_tables(op)
    _users()
    _sessions()
    _refresh_tokens()
    _signing_keys()
    _bookkeeping()


def downgrade() -> None:
    """The first revision has nothing to go back to but nothing."""
    for table in (
        "idempotency",
        "sign_in_attempts",
        "signing_keys",
        "refresh_tokens",
        "sessions",
        "users",
        "inbox",
        "outbox",
    ):
        op.drop_table(table)


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("roles", ARRAY(sa.Text), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("password_version", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("password_change_required", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        _time("create_time"),
        _time("update_time"),
        _time("last_sign_in_time", nullable=True),
        sa.CheckConstraint("state IN ('ACTIVE', 'DISABLED')", name="users_state"),
    )
    op.create_index("users_username", "users", ["username"], unique=True)


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column(
            "user_id", sa.Uuid(as_uuid=False), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("user_agent", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        _time("create_time"),
        _time("last_use_time"),
        _time("idle_expire_time"),
        _time("expire_time"),
        _time("second_factor_time", nullable=True),
        _time("end_time", nullable=True),
        sa.Column("end_reason", sa.Text),
    )
    op.create_index(
        "sessions_living", "sessions", ["user_id", "id"], postgresql_where=sa.text("end_time IS NULL")
    )
    op.create_index("sessions_user", "sessions", ["user_id"])
    op.create_index("sessions_expire", "sessions", ["expire_time"])


def _refresh_tokens() -> None:
    op.create_table(
        "refresh_tokens",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column(
            "session_id",
            sa.Uuid(as_uuid=False),
            sa.ForeignKey("sessions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("generation", sa.Integer, nullable=False),
        _time("create_time"),
        _time("use_time", nullable=True),
    )
    op.create_index(
        "refresh_tokens_unused",
        "refresh_tokens",
        ["session_id"],
        unique=True,
        postgresql_where=sa.text("use_time IS NULL"),
    )
    op.create_index("refresh_tokens_generation", "refresh_tokens", ["session_id", "generation"], unique=True)


def _signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sealed_private_key", sa.Text, nullable=False),
        _time("create_time"),
        _time("activate_time", nullable=True),
        _time("retire_time", nullable=True),
        sa.CheckConstraint("state IN ('NEXT', 'ACTIVE', 'RETIRING', 'RETIRED')", name="signing_keys_state"),
    )
    op.create_index(
        "signing_keys_single",
        "signing_keys",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state IN ('NEXT', 'ACTIVE')"),
    )


def _bookkeeping() -> None:
    op.create_table(
        "sign_in_attempts",
        sa.Column("lane", sa.LargeBinary, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        _time("last_time"),
        _time("next_time"),
    )
    op.create_index("sign_in_attempts_last_time", "sign_in_attempts", ["last_time"])
    op.create_table(
        "idempotency",
        sa.Column("request_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("method", sa.Text, primary_key=True),
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("response_id", sa.Uuid(as_uuid=False), nullable=False),
        _time("create_time"),
    )
    op.create_index("idempotency_create_time", "idempotency", ["create_time"])
