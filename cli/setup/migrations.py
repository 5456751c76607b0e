"""Brings each service's schema to its newest Alembic migration.

A service's scripts lie in `services/<name>/migrations`, with an `env.py` that takes the open connection from
`config.attributes["connection"]` and the schema from `config.attributes["schema"]`. That connection belongs to the
administrator, its search path is the schema, and it stands in a transaction that commits when all migrations have run.

The digest of the scripts that were last applied stays with the schema as its comment. While it matches, nothing has to be
loaded or asked, which makes a warm start a second faster: Alembic and SQLAlchemy are imported only when there is work.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import psycopg

from cli.registry import PROJECT_ROOT, Service

Connect = Callable[[], psycopg.Connection]
"""Opens a connection of the administrator to the mesh's database, outside autocommit."""

_DIGEST_PREFIX = "migrations sha256:"


def migrations_folder(service: Service) -> Path:
    """Where the service keeps its Alembic scripts; it may have none."""
    return PROJECT_ROOT / "services" / service.name / "migrations"


def digest(folder: Path) -> str:
    """One name for the content of all scripts below `folder`."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return _DIGEST_PREFIX + content.hexdigest()


def migrate(connect: Connect, service: Service, folder: Path | None = None) -> bool:
    """Upgrades the schema of `service` as the administrator; True if there was something to do.

    Services without migrations are passed over. Raises alembic's CommandError or SQLAlchemyError; nothing is applied then.
    """
    folder = folder or migrations_folder(service)
    if not (folder / "env.py").exists():
        return False
    wanted = digest(folder)
    with connect() as connection:
        row = connection.execute("SELECT obj_description(to_regnamespace(%s))", [service.name]).fetchone()
    if row is not None and row[0] == wanted:
        return False
    _upgrade(connect, service.name, folder, wanted)
    return True


def _upgrade(connect: Connect, schema: str, folder: Path, wanted: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT set_config('search_path', :schema, false)"), {"schema": schema})
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes.update(connection=connection, schema=schema)
        command.upgrade(config, "head")
        connection.execute(
            text(f"COMMENT ON SCHEMA {schema} IS '{wanted}'")
        )  # both made by us: a name and a hex digest
