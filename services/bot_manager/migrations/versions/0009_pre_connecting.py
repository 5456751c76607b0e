"""Accounts that are being connected, secrets that are to be destroyed, and one bot an account."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds tables that the release before does not know, and an index that it may run into.

    Where several living bots have one account the oldest keeps it. The others forget whose they are: their credentials are asked about
    anew, and refused, by the next verification; until then they go on as before.
    """
    op.create_table(
        "oauth_connects",
        sa.Column("bot_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("state_hash", sa.LargeBinary, nullable=False),
        sa.Column("verifier", sa.Text, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("redirect_uri", sa.Text, nullable=False),
        sa.Column("scopes", JSONB, nullable=False),
        sa.Column("return_path", sa.Text, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("oauth_connects_state", "oauth_connects", ["state_hash"], unique=True)
    op.create_index("oauth_connects_age", "oauth_connects", ["expire_time"])
    op.create_table(
        "secret_destructions",
        sa.Column("bot_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("end_time", sa.DateTime(timezone=True)),
    )
    op.execute(
        "UPDATE bots SET x_user_id = '' WHERE x_user_id <> '' AND state <> 'ARCHIVED' AND EXISTS ("
        " SELECT 1 FROM bots AS older WHERE older.x_user_id = bots.x_user_id AND older.state <> 'ARCHIVED'"
        " AND (older.create_time, older.id) < (bots.create_time, bots.id))"
    )
    op.create_index(
        "bots_account",
        "bots",
        ["x_user_id"],
        unique=True,
        postgresql_where=sa.text("state <> 'ARCHIVED' AND x_user_id <> ''"),
    )
