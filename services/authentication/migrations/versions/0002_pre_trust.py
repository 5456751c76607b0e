"""Second factors, API keys, revocations, sealed keys; when one-time passwords end and tokens were revoked."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KINDS = "kind IN ('SESSION', 'USER', 'TOKEN', 'API_KEY', 'SIGNING_KEY')"


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _user(**options: object) -> sa.Column[object]:
    key = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", sa.Uuid(as_uuid=False), key, nullable=False, **options)  # type: ignore[arg-type]


def upgrade() -> None:
    """Make everything."""
    op.add_column("users", _time("password_expire_time", nullable=True))
    op.add_column("users", _time("tokens_revoke_time", nullable=True))
    op.add_column("sessions", _time("authenticate_time", nullable=True))
    op.execute("UPDATE sessions SET authenticate_time = create_time")
    op.alter_column("sessions", "authenticate_time", nullable=False)
    _second_factors()
    _api_keys()
    _revocations()
    op.create_table(
        "sealed_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
        _time("create_time"),
    )


def downgrade() -> None:
    """Back to accounts alone; second factors and API keys are lost."""
    for table in (
        "sealed_keys",
        "revocation_feed",
        "revocations",
        "api_keys",
        "recovery_codes",
        "second_factors",
    ):
        op.drop_table(table)
    op.drop_column("sessions", "authenticate_time")
    op.drop_column("users", "tokens_revoke_time")
    op.drop_column("users", "password_expire_time")


def _second_factors() -> None:
    op.create_table(
        "second_factors",
        _user(primary_key=True),
        sa.Column("sealed_secret", sa.Text, nullable=False),
        _time("create_time"),
        _time("confirm_time", nullable=True),
        sa.Column("last_step", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column(
            "user_id",
            sa.Uuid(as_uuid=False),
            sa.ForeignKey("second_factors.user_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        _time("use_time", nullable=True),
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        _user(),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("permissions", ARRAY(sa.Text), nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        _time("create_time"),
        _time("expire_time"),
        _time("last_use_time", nullable=True),
        _time("revoke_time", nullable=True),
    )
    op.create_index("api_keys_hash", "api_keys", ["hash"], unique=True)
    op.create_index("api_keys_user", "api_keys", ["user_id", "id"])


def _revocations() -> None:
    op.create_table(
        "revocations",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target_id", sa.Text, nullable=False),
        _time("revoke_time"),
        _time("expire_time"),
        sa.CheckConstraint(_KINDS, name="revocations_kind"),
    )
    op.create_index("revocations_expire_time", "revocations", ["expire_time"])
    op.create_table(
        "revocation_feed",
        sa.Column("id", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id", name="revocation_feed_single"),
    )
    op.execute("INSERT INTO revocation_feed (id, sequence) VALUES (true, 0)")
