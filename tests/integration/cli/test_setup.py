"""The set-up job on engines that somebody else has started: a PostgreSQL, a NATS and a vault with Shamir's seal."""

import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from cli.child import ChildFailed, ChildSpec, Identity
from cli.engines.nats import nats_spec
from cli.engines.openbao import address, openbao_spec
from cli.engines.postgres import ADMIN_ROLE, admin_password_file, postgres_spec
from cli.launch import NOBODY
from cli.layout import DataDir
from cli.pki import issue_certificates
from cli.ports import LOOPBACK, assign_ports
from cli.registry import Service
from cli.setup import streams, vault
from cli.setup.command import SetupIncomplete, SetupSettings, run_step
from cli.setup.database import DatabaseAdmin
from cli.setup.migrations import migrate
from cli.setup.vault_init import NOT_INITIALISED, SEALED, health, root_token
from cli.supervisor import Supervisor

SERVICES = (Service("trends", database=True, vault=True, consumes=("events.trends.>",)),)
PORTS = assign_ports(("postgres", "nats", "openbao", "openbao_cluster"), {})

ENV_PY = """
from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema=context.config.attributes["schema"])
with context.begin_transaction():
    context.run_migrations()
"""
VERSION_PY = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down!r}

def upgrade():
    op.create_table("{table}", sa.Column("id", sa.Integer, primary_key=True))
    {more}
"""


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs")
    yield supervisor
    await supervisor.stop()


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data")


def shamir(spec: ChildSpec, data: DataDir) -> ChildSpec:
    """The same server without a seal that opens by itself, as a HashiCorp Vault usually comes."""
    file = data.root / "run" / "openbao.hcl"
    file.write_text(re.sub(r"seal .*", "", file.read_text(), flags=re.DOTALL))

    async def ready() -> bool:
        authority = data.tls_files("setup").ca_file
        return health(address(PORTS["openbao"]), authority) in (200, NOT_INITIALISED, SEALED)

    return replace(spec, ready=ready)


def settings(data: DataDir) -> SetupSettings:
    return SetupSettings(
        database_host=LOOPBACK,
        database_port=PORTS["postgres"],
        database_user=ADMIN_ROLE,
        database_password_file=admin_password_file(data),
        nats_url=f"tls://{LOOPBACK}:{PORTS['nats']}",
        nats_listen=f"{LOOPBACK}:{PORTS['nats']}",
        nats_store_dir=data.engine("nats"),
        vault_addr=address(PORTS["openbao"]),
    )


async def test_every_step_may_be_repeated_and_a_sealed_vault_is_opened(
    data: DataDir, supervisor: Supervisor
) -> None:
    """A container job runs at every start of the composition."""
    run_step("pki", data, settings(data), SERVICES)
    vault_spec = shamir(openbao_spec(data, PORTS["openbao"], PORTS["openbao_cluster"]), data)
    await supervisor.start(1, await postgres_spec(data, PORTS["postgres"], fsync=False))
    await supervisor.start(1, nats_spec(data, PORTS["nats"], SERVICES))
    await supervisor.start(2, vault_spec)
    for _ in range(2):
        for step in ("database", "vault"):
            run_step(step, data, settings(data), SERVICES)
        await streams.prepare_streams(settings(data).nats_url, data.tls_files("setup"), SERVICES)
    login = data.secret("trends", "vault_secret_id").read_text()

    await supervisor.children[-1].stop()
    await supervisor.children[-1].spawn()
    await supervisor.children[-1].wait_ready()
    authority = data.tls_files("setup").ca_file
    assert health(address(PORTS["openbao"]), authority) == SEALED
    run_step("vault", data, settings(data), SERVICES)
    assert data.secret("trends", "vault_secret_id").read_text() == login


async def test_a_lost_login_file_is_made_again(data: DataDir, supervisor: Supervisor) -> None:
    """The files may be deleted to rotate them."""
    issue_certificates(data, ["openbao", "setup"])
    await supervisor.start(1, openbao_spec(data, PORTS["openbao"], PORTS["openbao_cluster"]))
    run_step("vault", data, settings(data), SERVICES)
    file = data.secret("trends", "vault_secret_id")
    before = file.read_text()
    file.write_text("not a secret id")
    run_step("vault", data, settings(data), SERVICES)
    after = file.read_text()
    assert after not in ("not a secret id", before)
    authority = data.tls_files("setup").ca_file
    token = root_token(address(PORTS["openbao"]), authority, data.secret("setup", "vault_keys.json"))
    client = vault.connect(address(PORTS["openbao"]), authority, token)
    role = client.auth.approle.read_role("vivesphere-trends", mount_point="approle")["data"]
    assert role["token_policies"] == ["vivesphere-trends"]


def test_a_missing_setting_is_named(data: DataDir) -> None:
    """A job that fails must say what to set."""
    with pytest.raises(SetupIncomplete, match="VIVESPHERE_SETUP_DATABASE_PASSWORD_FILE"):
        run_step("database", data, SetupSettings(), SERVICES)


@pytest.fixture
async def admin(data: DataDir, supervisor: Supervisor) -> DatabaseAdmin:
    await supervisor.start(1, await postgres_spec(data, PORTS["postgres"], fsync=False))
    run_step("database", data, settings(data), SERVICES)
    return DatabaseAdmin(LOOPBACK, PORTS["postgres"], ADMIN_ROLE, admin_password_file(data))


def add_version(folder: Path, revision: str, down: str | None, table: str, more: str = "") -> None:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "env.py").write_text(ENV_PY)
    text = VERSION_PY.format(revision=revision, down=down, table=table, more=more)
    (folder / "versions" / f"{revision}.py").write_text(text)


async def test_migrations_run_once_in_the_services_schema(
    admin: DatabaseAdmin, data: DataDir, tmp_path: Path
) -> None:
    """Tables belong to the administrator; the service may only use them."""
    (service,) = SERVICES
    folder = tmp_path / "migrations"
    add_version(folder, "one", None, "records")
    assert migrate(admin.connect, service, folder)
    assert not migrate(admin.connect, service, folder)
    add_version(folder, "two", "one", "more_records")
    assert migrate(admin.connect, service, folder)
    password = data.secret("trends", "database_password").read_text()
    with psycopg.connect(
        host=LOOPBACK, port=PORTS["postgres"], user="trends", password=password, dbname="vivesphere"
    ) as connection:
        connection.execute("INSERT INTO records VALUES (1)")
        tables = connection.execute(
            "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'trends' ORDER BY 1"
        ).fetchall()
    assert tables == [("alembic_version", "admin"), ("more_records", "admin"), ("records", "admin")]


async def test_a_migration_that_fails_leaves_nothing(admin: DatabaseAdmin, tmp_path: Path) -> None:
    """It is corrected and run again, not repaired by hand."""
    (service,) = SERVICES
    add_version(tmp_path / "migrations", "one", None, "records", more="raise RuntimeError('no')")
    with pytest.raises(RuntimeError):
        migrate(admin.connect, service, tmp_path / "migrations")
    with admin.connect() as connection:
        assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'trends'").fetchall() == []
    add_version(tmp_path / "migrations", "one", None, "records")
    assert migrate(admin.connect, service, tmp_path / "migrations")


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL directly")
@pytest.mark.parametrize("identity", ["namespace", "capability"])
async def test_root_runs_postgresql_below_a_closed_directory(data: DataDir, identity: Identity) -> None:
    """PostgreSQL refuses uid 0, and /root is closed to everybody else; the data changes hands between the two ways."""
    data.root.mkdir(mode=0o700)
    port = PORTS["postgres"]
    other: Identity = "capability" if identity == "namespace" else "namespace"
    for way in (identity, other):
        supervisor = Supervisor(data.logs)
        await supervisor.start(1, await postgres_spec(data, port, fsync=False, identity=way))
        user = NOBODY if way == "capability" else 0
        assert {path.stat().st_uid for path in data.engine("postgres").rglob("*")} == {user}
        await supervisor.stop()


async def test_a_stale_pid_file_is_no_obstacle(data: DataDir, supervisor: Supervisor) -> None:
    """After a power cut its number may belong to any process, such as this one."""
    port = PORTS["postgres"]
    spec = await postgres_spec(data, port, fsync=False)
    (data.engine("postgres") / "postmaster.pid").write_text(f"{os.getpid()}\n{data.engine('postgres')}\n")
    spec = await postgres_spec(data, port, fsync=False)
    await supervisor.start(1, spec)


async def test_an_engine_that_cannot_start_says_why(data: DataDir, supervisor: Supervisor) -> None:
    """Its own words are better than a timeout."""
    spec = await postgres_spec(data, PORTS["postgres"], fsync=False)
    (data.engine("postgres") / "pg_hba.conf").write_text("nonsense\n")
    with pytest.raises(ChildFailed, match="could not load"):
        await supervisor.start(1, spec)


async def test_postgresql_ends_in_order_when_its_supervisor_is_gone(data: DataDir) -> None:
    """A fast shutdown writes a checkpoint, so the next start has nothing to recover."""
    spec = await postgres_spec(data, PORTS["postgres"], fsync=False)
    assert spec.death_signal is signal.SIGINT
