"""Catalogue of secrets, announcements, access trail, leases; outbox and inbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from mesh.migrate import create_mesh_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table of the service."""
    create_mesh_tables(op)
    _create_catalogue()
    _create_trail()


def _create_catalogue() -> None:
    op.create_table(
        "secrets",
        sa.Column("bot_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True)),
        sa.Column("rotate_time", sa.DateTime(timezone=True)),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("field_names", ARRAY(sa.Text), nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
        sa.CheckConstraint("kind IN ('X_OAUTH1', 'X_OAUTH2', 'X_APP', 'GENERIC')", name="secrets_kind"),
        sa.CheckConstraint("version >= 1", name="secrets_version"),
    )
    op.create_table(
        "secret_versions",
        sa.Column("bot_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delete_time", sa.DateTime(timezone=True)),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("rolled_back_from", sa.Integer, nullable=False),
        sa.CheckConstraint("state IN ('ACTIVE', 'DELETED', 'DESTROYED')", name="secret_versions_state"),
    )
    op.create_table(
        "announcements",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("bot_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("announcements_oldest", "announcements", ["create_time"])


def _create_trail() -> None:
    op.create_table(
        "accesses",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("bot_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("allowed", sa.Boolean, nullable=False),
        sa.Column("denied_reason", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("lease_id", sa.Uuid(as_uuid=False)),
        sa.CheckConstraint("kind IN ('REVEAL', 'LEASE')", name="accesses_kind"),
        sa.CheckConstraint("allowed = (denied_reason = '')", name="accesses_denied_reason"),
    )
    op.create_index("accesses_by_bot", "accesses", ["bot_id", "id"])
    op.create_table(
        "leases",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("bot_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoke_time", sa.DateTime(timezone=True)),
        sa.Column("revoke_reason", sa.Text),
    )
    op.create_index(
        "leases_in_force",
        "leases",
        ["bot_id", "expire_time"],
        postgresql_where=sa.text("revoke_time IS NULL"),
    )
