"""Versions of the encryption key, rewrap jobs, ends of leases, claims to replace a secret, the list of what is due."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns with defaults, so that the release before goes on writing."""
    for name in ("rewrapped_from", "key_version"):
        op.add_column(
            "secret_versions", sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))
        )
    op.create_index("secrets_due", "secrets", [sa.text("least(rotate_time, expire_time)"), "bot_id", "name"])
    op.create_table(
        "lease_revocations",
        sa.Column("bot_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
    )
    _create_rotations()
    _create_jobs()


def _create_rotations() -> None:
    op.create_table(
        "rotations",
        sa.Column("bot_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_force", sa.Boolean, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
    )


def _create_jobs() -> None:
    op.create_table(
        "rewrap_jobs",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("target_key_version", sa.Integer, nullable=False),
        sa.Column("destroy_earlier", sa.Boolean, nullable=False),
        sa.Column("total_count", sa.BigInteger, nullable=False),
        sa.Column("rewrapped_count", sa.BigInteger, nullable=False),
        sa.Column("skipped_count", sa.BigInteger, nullable=False),
        sa.Column("failed_count", sa.BigInteger, nullable=False),
        sa.Column("last_failure", sa.Text, nullable=False),
        sa.Column("after_bot_id", sa.Uuid(as_uuid=False)),
        sa.Column("after_name", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True)),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.CheckConstraint(
            "state IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="rewrap_jobs_state"
        ),
    )
    op.create_index(
        "rewrap_jobs_running",
        "rewrap_jobs",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'RUNNING'"),
    )
