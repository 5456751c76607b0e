"""Makes the database of the mesh: per service a schema, a role that may only work in it, and the migrations.

Everything is owned by the administrator who runs this; a service's role gets USAGE on its own schema and SELECT, INSERT,
UPDATE and DELETE on the tables migrations will make there, so it can neither read a neighbour nor change its own tables'
shape or grants. Passwords travel as SCRAM verifiers, never in clear. All functions block: callers run them in a thread.
Migrations are `cli.setup.migrations`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from cli.layout import DataDir, ensure_secret
from cli.registry import Service
from cli.setup import DATABASE
from cli.setup.migrations import migrate

CONNECT_SECONDS = 5
_LOCK_KEY = 0x76697665  # any constant: one set-up at a time a database


@dataclass(frozen=True, slots=True)
class DatabaseAdmin:
    """Where PostgreSQL is and who may administer it; the password stays in its file."""

    host: str
    port: int
    user: str
    password_file: Path
    sslmode: str = "prefer"
    maintenance_database: str = "postgres"

    def connect(self, database: str = DATABASE, *, autocommit: bool = False) -> psycopg.Connection:
        """A connection; without autocommit its `with` block is one transaction. Raises psycopg.OperationalError."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self._password(),
            dbname=database,
            sslmode=self.sslmode,
            connect_timeout=CONNECT_SECONDS,
            application_name="vivesphere-setup",
            autocommit=autocommit,
        )

    def _password(self) -> str:
        return self.password_file.read_text(encoding="utf-8").strip()


def prepare_database(admin: DatabaseAdmin, data: DataDir, services: Sequence[Service]) -> None:
    """Database, roles and schemas, then every service's migrations. Raises psycopg.Error or SQLAlchemyError."""
    users = [service for service in services if service.database]
    _ensure_database(admin)
    with admin.connect(autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        with connection.transaction():
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            for service in users:
                _ensure_role(connection, data, service)
                _ensure_schema(connection, service)
        for service in users:
            migrate(admin.connect, service)


def _ensure_database(admin: DatabaseAdmin) -> None:
    name = sql.Identifier(DATABASE)
    with admin.connect(admin.maintenance_database, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(name))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))


def _ensure_role(connection: psycopg.Connection, data: DataDir, service: Service) -> None:
    role = sql.Identifier(service.name)
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [service.name]).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    password = ensure_secret(data.secret(service.name, "database_password"))
    verifier = connection.pgconn.encrypt_password(password.encode(), service.name.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("ALTER ROLE {} LOGIN NOINHERIT NOCREATEDB NOCREATEROLE PASSWORD {}").format(
            role, sql.Literal(verifier.decode())
        )
    )
    connection.execute(sql.SQL("ALTER ROLE {} SET search_path = {}").format(role, role))
    connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(DATABASE), role))


def _ensure_schema(connection: psycopg.Connection, service: Service) -> None:
    name = sql.Identifier(service.name)
    statements: tuple[LiteralString, ...] = (
        "CREATE SCHEMA IF NOT EXISTS {0}",
        "GRANT USAGE ON SCHEMA {0} TO {0}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {0} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {0}",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {0} GRANT USAGE ON SEQUENCES TO {0}",
    )
    for statement in statements:
        connection.execute(sql.SQL(statement).format(name))
