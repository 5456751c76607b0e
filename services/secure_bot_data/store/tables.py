"""The tables of schema `secure_bot_data`. No column of any of them holds a value of a secret, encrypted or not."""

from typing import Final

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
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

metadata: Final = MetaData()

secrets: Final = Table(
    "secrets",
    metadata,
    Column("bot_id", Uuid(as_uuid=False), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True)),
    Column("rotate_time", DateTime(timezone=True)),
    Column("owner", Text, nullable=False),
    Column("field_names", ARRAY(Text), nullable=False),
    Column("updated_by", Text, nullable=False),
    CheckConstraint("kind IN ('X_OAUTH1', 'X_OAUTH2', 'X_APP', 'GENERIC')", name="secrets_kind"),
    CheckConstraint("version >= 1", name="secrets_version"),
)
Index(
    "secrets_due", func.least(secrets.c.rotate_time, secrets.c.expire_time), secrets.c.bot_id, secrets.c.name
)
"""One row a secret; what belongs to a version is that of the current one."""

secret_versions: Final = Table(
    "secret_versions",
    metadata,
    Column("bot_id", Uuid(as_uuid=False), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("delete_time", DateTime(timezone=True)),
    Column("created_by", Text, nullable=False),
    Column("rolled_back_from", Integer, nullable=False),
    Column("rewrapped_from", Integer, nullable=False, server_default=text("0")),
    Column("key_version", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("state IN ('ACTIVE', 'DELETED', 'DESTROYED')", name="secret_versions_state"),
)
"""One row a version that the vault keeps. `key_version` 0: written before the catalogue knew of keys; the vault has to be asked."""

announcements: Final = Table(
    "announcements",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("bot_id", Uuid(as_uuid=False), nullable=False),
    Column("name", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Index("announcements_oldest", "create_time"),
)
"""Changes of the vault that are under way, or whose writer died; see `domain/settling`."""

accesses: Final = Table(
    "accesses",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("bot_id", Uuid(as_uuid=False), nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("allowed", Boolean, nullable=False),
    Column("denied_reason", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("lease_id", Uuid(as_uuid=False)),
    CheckConstraint("kind IN ('REVEAL', 'LEASE')", name="accesses_kind"),
    CheckConstraint("allowed = (denied_reason = '')", name="accesses_denied_reason"),
    Index("accesses_by_bot", "bot_id", "id"),
)
"""The access trail. Ids are UUIDv7, so their order is that of time."""

leases: Final = Table(
    "leases",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("bot_id", Uuid(as_uuid=False), nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("revoke_time", DateTime(timezone=True)),
    Column("revoke_reason", Text),
    Index("leases_in_force", "bot_id", "expire_time", postgresql_where=text("revoke_time IS NULL")),
)
"""Leases, those that ended included: the trail shows when."""

lease_revocations: Final = Table(
    "lease_revocations",
    metadata,
    Column("bot_id", Uuid(as_uuid=False), primary_key=True),
    Column("time", DateTime(timezone=True), nullable=False),
)
"""When all leases of a bot were last ended: one that was asked for before is not made afterwards."""

rotations: Final = Table(
    "rotations",
    metadata,
    Column("bot_id", Uuid(as_uuid=False), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("id", Uuid(as_uuid=False), nullable=False),
    Column("version", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("expire_time", DateTime(timezone=True), nullable=False),
    Column("in_force", Boolean, nullable=False),
    Column("settled", Boolean, nullable=False),
)
"""The last claim to replace each secret. Not `settled`: nobody knows whether the other side was asked for the successor of `version`."""

rewrap_jobs: Final = Table(
    "rewrap_jobs",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("state", Text, nullable=False),
    Column("target_key_version", Integer, nullable=False),
    Column("destroy_earlier", Boolean, nullable=False),
    Column("total_count", BigInteger, nullable=False),
    Column("rewrapped_count", BigInteger, nullable=False),
    Column("skipped_count", BigInteger, nullable=False),
    Column("failed_count", BigInteger, nullable=False),
    Column("last_failure", Text, nullable=False),
    Column("after_bot_id", Uuid(as_uuid=False)),
    Column("after_name", Text, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    Column("update_time", DateTime(timezone=True), nullable=False),
    Column("end_time", DateTime(timezone=True)),
    Column("created_by", Text, nullable=False),
    CheckConstraint("state IN ('RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="rewrap_jobs_state"),
    Index("rewrap_jobs_running", "state", unique=True, postgresql_where=text("state = 'RUNNING'")),
)
"""Runs over all secrets; `after_…` is the last secret that was gone through."""
