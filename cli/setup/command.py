"""`vivesphere setup`: the set-up steps as a job for containers, driven by the environment.

    pki       certificates of every identity, and the NATS configuration that names them; before the engines start
    database  database, roles, schemas, migrations
    nats      streams and consumers
    vault     initialise and unseal if needed, mounts, policies, AppRoles and their login files
    all       all four, for engines that run already

Everything is written below VIVESPHERE_DATA_DIR, which the other containers mount at the same path.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.engines.nats import render_configuration
from cli.errors import CliError
from cli.layout import DataDir, write_private
from cli.pki import OTHER_IDENTITIES, issue_certificates
from cli.registry import Service
from cli.setup import streams, vault
from cli.setup.database import DatabaseAdmin, prepare_database
from cli.setup.vault_init import root_token
from mesh.vault_names import VaultNames

Step = Literal["pki", "database", "nats", "vault", "all"]


class SetupIncomplete(CliError):
    """A setting that the step needs is missing; the message names it."""


class SetupSettings(BaseSettings):
    """What the job must know; prefix VIVESPHERE_SETUP_."""

    model_config = SettingsConfigDict(env_prefix="VIVESPHERE_SETUP_", frozen=True)

    database_host: str = "postgres"
    """Where PostgreSQL listens."""
    database_port: int = 5432
    """Its port."""
    database_user: str = "postgres"
    """A role that may create databases and roles."""
    database_password_file: Path | None = None
    """File with that role's password; required for `database`."""
    database_sslmode: str = "prefer"
    """libpq's sslmode."""
    nats_url: str = "tls://nats:4222"
    """NATS, for `nats`."""
    nats_listen: str = "0.0.0.0:4222"
    """Where the NATS server shall listen; goes into its configuration."""
    nats_store_dir: Path = Path("/data")
    """Where the NATS server shall keep its streams."""
    nats_replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each stream; 3 on a cluster of three."""
    vault_addr: str = "https://vault:8200"
    """Vault or OpenBao, for `vault`."""
    vault_ca_file: Path | None = None
    """Who has signed the vault's certificate; the mesh's own authority when unset."""
    vault_token_file: Path | None = None
    """File with an administrator's token; when unset the job initialises and unseals the vault and keeps the keys itself."""
    vault_kv_mount: str = VaultNames.kv_mount
    """Mount of KV version 2; the services' VIVESPHERE_VAULT_… must have the same names."""
    vault_kv_prefix: str = VaultNames.kv_prefix
    """First segment of the path of bots' secrets."""
    vault_transit_mount: str = VaultNames.transit_mount
    """Mount of Transit."""
    vault_approle_mount: str = VaultNames.approle_mount
    """Mount of the AppRole auth method."""
    vault_role_prefix: str = VaultNames.role_prefix
    """What names of AppRoles and policies begin with; another one for a second installation on the same vault."""
    vault_wrap_ttl: str | None = None
    """How long a wrapped secret id can be opened, such as `10m`; unset: secret ids are written in clear."""

    @property
    def vault_names(self) -> VaultNames:
        """Where things lie in the vault."""
        return VaultNames(**{name: getattr(self, f"vault_{name}") for name in vars(VaultNames())})


def run_step(step: Step, data: DataDir, settings: SetupSettings, services: Sequence[Service]) -> None:
    """Runs one step, or all. Raises SetupIncomplete for a missing setting, otherwise what the step itself raises."""
    if step in ("pki", "all"):
        _prepare_files(data, settings, services)
    if step in ("database", "all"):
        _prepare_database(data, settings, services)
    if step in ("nats", "all"):
        tls = data.tls_files("setup")
        asyncio.run(streams.prepare_streams(settings.nats_url, tls, services, settings.nats_replicas))
    if step in ("vault", "all"):
        _prepare_vault(data, settings, services)


def _prepare_files(data: DataDir, settings: SetupSettings, services: Sequence[Service]) -> None:
    issue_certificates(data, (*(service.name for service in services), *OTHER_IDENTITIES))
    tls, store = data.tls_files("nats"), settings.nats_store_dir
    write_private(
        data.nats_configuration, render_configuration(services, tls, settings.nats_listen, store, "nats")
    )


def _prepare_database(data: DataDir, settings: SetupSettings, services: Sequence[Service]) -> None:
    if settings.database_password_file is None:
        raise SetupIncomplete("VIVESPHERE_SETUP_DATABASE_PASSWORD_FILE is not set")
    admin = DatabaseAdmin(
        host=settings.database_host,
        port=settings.database_port,
        user=settings.database_user,
        password_file=settings.database_password_file,
        sslmode=settings.database_sslmode,
    )
    prepare_database(admin, data, services)


def _prepare_vault(data: DataDir, settings: SetupSettings, services: Sequence[Service]) -> None:
    authority = settings.vault_ca_file or data.tls_files("setup").ca_file
    if settings.vault_token_file is not None:
        token = settings.vault_token_file.read_text(encoding="utf-8").strip()
    else:
        token = root_token(settings.vault_addr, authority, data.secret("setup", "vault_keys.json"))
    client = vault.connect(settings.vault_addr, authority, token)
    vault.prepare_vault(client, data, services, settings.vault_names, wrap_ttl=settings.vault_wrap_ttl)
