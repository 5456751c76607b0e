"""Migrations make exactly the tables that the code believes in, and a service owns none of them."""

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, text
from sqlalchemy.pool import NullPool

from cli.embedded import EmbeddedMesh
from mesh.outbox import metadata as mesh_metadata

ROOT = Path(__file__).resolve().parents[3]
SERVICES = tuple(tomllib.loads((ROOT / "services" / "registry.toml").read_text()))


def not_of_a_migration(thing: Any) -> bool:
    """Alembic's own table, and daily partitions, which are made as days come."""
    name = getattr(thing, "name", "") or getattr(getattr(thing, "table", None), "name", "")
    table = getattr(getattr(thing, "table", None), "name", "")
    return str(name) == "alembic_version" or any(str(n).startswith("records_") for n in (name, table))


@pytest.mark.parametrize("service", SERVICES)
def test_tables_and_migrations_agree(service: str, engines: EmbeddedMesh) -> None:
    """A column that only one of them knows is an outage waiting for a release."""
    metadata: MetaData = importlib.import_module(f"services.{service}.store.tables").metadata
    engine = create_engine("postgresql+psycopg://", creator=engines.admin.connect, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"SET search_path TO {service}"))
        connection.dialect.default_schema_name = service
        context = MigrationContext.configure(
            connection, opts={"version_table_schema": service, "compare_type": True}
        )
        differences = compare_metadata(context, [metadata, mesh_metadata])
        owned = connection.execute(
            text("SELECT count(*) FROM pg_tables WHERE schemaname = :schema AND tableowner = :schema"),
            {"schema": service},
        ).scalar_one()
    assert [d for d in differences if not any(not_of_a_migration(part) for part in _flat(d))] == []
    assert owned == 0


def _flat(difference: Any) -> list[Any]:
    if isinstance(difference, (list, tuple)):
        return [item for part in difference for item in _flat(part)]
    return [difference]


def test_migrations_say_when_they_are_safe() -> None:
    """`pre` before the new code runs, `post` after the old code is gone; a name that says neither cannot be scheduled."""
    wrong = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "services").glob("*/migrations/versions/*.py")
        if path.stem.split("_")[1:2] not in (["pre"], ["post"])
    ]
    assert wrong == []
