"""Tables of the schema `authentication`. Passwords and refresh tokens are here as hashes, private keys sealed by the vault."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("username", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("roles", ARRAY(Text), nullable=False),
    Column("state", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("password_version", Integer, nullable=False, server_default=text("1")),
    Column("password_change_required", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("last_sign_in_time", DateTime(timezone=True)),
    # A one-time password is good until then; unset for passwords that people chose.
    Column("password_expire_time", DateTime(timezone=True)),
    # Access tokens issued at or before it are revoked: the next one gets a later time of issue, whole seconds as they are.
    Column("tokens_revoke_time", DateTime(timezone=True)),
    CheckConstraint("state IN ('ACTIVE', 'DISABLED')", name="users_state"),
    Index("users_username", "username", unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("user_id", Uuid(as_uuid=False), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("user_agent", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("last_use_time", DateTime(timezone=True), nullable=False),
    Column("idle_expire_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    # When the password was last proved in this session.
    Column("authenticate_time", DateTime(timezone=True), nullable=False),
    Column("second_factor_time", DateTime(timezone=True)),
    Column("end_time", DateTime(timezone=True)),
    Column("end_reason", Text),
    Index("sessions_living", "user_id", "id", postgresql_where=text("end_time IS NULL")),
    Index("sessions_user", "user_id"),
    Index("sessions_expire", "expire_time"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("session_id", Uuid(as_uuid=False), ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("use_time", DateTime(timezone=True)),
    # At most one unused token a session: what the rotation keeps, the database guards.
    Index("refresh_tokens_unused", "session_id", unique=True, postgresql_where=text("use_time IS NULL")),
    Index("refresh_tokens_generation", "session_id", "generation", unique=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealed_private_key", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("activate_time", DateTime(timezone=True)),
    Column("retire_time", DateTime(timezone=True)),
    CheckConstraint("state IN ('NEXT', 'ACTIVE', 'RETIRING', 'RETIRED')", name="signing_keys_state"),
    # One key signs and one waits, however many replicas make one at the same time.
    Index("signing_keys_single", "state", unique=True, postgresql_where=text("state IN ('NEXT', 'ACTIVE')")),
)

sign_in_attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("lane", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_time", DateTime(timezone=True), nullable=False),
    Column("next_time", DateTime(timezone=True), nullable=False),
    Index("sign_in_attempts_last_time", "last_time"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("request_id", Uuid(as_uuid=False), primary_key=True),
    Column("method", Text, primary_key=True),
    Column("actor", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("response_id", Uuid(as_uuid=False), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index("idempotency_create_time", "create_time"),
)

second_factors = Table(
    "second_factors",
    metadata,
    Column("user_id", Uuid(as_uuid=False), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("sealed_secret", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    # Unset until a first code has proved that a device holds the secret.
    Column("confirm_time", DateTime(timezone=True)),
    # The newest time step whose code was used: none is good twice (RFC 6238 section 5.2).
    Column("last_step", BigInteger, nullable=False, server_default=text("0")),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column(
        "user_id",
        Uuid(as_uuid=False),
        ForeignKey("second_factors.user_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("hash", LargeBinary, primary_key=True),
    Column("use_time", DateTime(timezone=True)),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("user_id", Uuid(as_uuid=False), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("display_name", Text, nullable=False),
    Column("permissions", ARRAY(Text), nullable=False),
    Column("prefix", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("last_use_time", DateTime(timezone=True)),
    Column("revoke_time", DateTime(timezone=True)),
    Index("api_keys_hash", "hash", unique=True),
    Index("api_keys_user", "user_id", "id"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("revoke_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    CheckConstraint(
        "kind IN ('SESSION', 'USER', 'TOKEN', 'API_KEY', 'SIGNING_KEY')", name="revocations_kind"
    ),
    Index("revocations_expire_time", "expire_time"),
)

# One row: the number of the newest revocation. Locked until the commit of whoever adds one, so that numbers have no gaps and the
# order of commits is theirs; it outlives the entries that are forgotten.
revocation_feed = Table(
    "revocation_feed",
    metadata,
    Column("id", Boolean, primary_key=True, server_default=text("true")),
    Column("sequence", BigInteger, nullable=False),
    CheckConstraint("id", name="revocation_feed_single"),
)

# Keys that this service derives things from, sealed by the vault like the signing keys.
sealed_keys = Table(
    "sealed_keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
