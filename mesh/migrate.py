"""Migrations of one service's schema: what each `services/<name>/migrations/env.py` calls, and the tables every service has.

Migrations run as the role that owns the tables, never as the service. They are named `000N_pre_…` when they are safe before the new
code runs and `000N_post_…` when they are safe only after the old code is gone. The version table lives in the service's own schema.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import context
from sqlalchemy.dialects.postgresql import JSONB

from mesh.outbox import metadata as mesh_metadata


def run_migrations(schema: str, metadata: sa.MetaData) -> None:
    """Run this service's migrations on the connection in the configuration's attributes. `metadata` are its tables."""
    connection: sa.Connection = context.config.attributes["connection"]
    connection.execute(sa.text(f'SET search_path TO "{schema}"'))
    connection.dialect.default_schema_name = schema
    context.configure(
        connection=connection,
        target_metadata=[metadata, mesh_metadata],
        version_table="alembic_version",
        version_table_schema=schema,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def create_mesh_tables(op: Any) -> None:
    """The tables of `mesh.outbox`, for the first revision of a service. `op` is Alembic's."""
    _create_outbox(op.create_table, op.create_index)
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def _create_outbox(create_table: Callable[..., Any], create_index: Callable[..., Any]) -> None:
    create_table(
        "outbox",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("publish_time", sa.DateTime(timezone=True)),
    )
    create_index(
        "outbox_waiting", "outbox", ["create_time", "id"], postgresql_where=sa.text("publish_time IS NULL")
    )
    create_index(
        "outbox_published", "outbox", ["publish_time"], postgresql_where=sa.text("publish_time IS NOT NULL")
    )
