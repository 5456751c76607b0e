"""The service's parts on the real engines: OpenBao under the service's own AppRole, PostgreSQL under its own role.

With VAULT_ADDR set, parts and process use that vault instead of the engines' own: see `tests/integration/mesh/vault/existing.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from cli.embedded import EmbeddedMesh
from cli.layout import DataDir
from cli.setup import vault as vault_setup
from mesh.clock import Clock, SystemClock
from mesh.database import Database, open_database
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.vault import VaultClient, open_vault
from mesh.vault_names import VaultNames
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.model import Caller, Draft, SecretKind, SecretRef
from services.secure_bot_data.domain.reading import SecretReader
from services.secure_bot_data.domain.rolling_back import SecretRollback
from services.secure_bot_data.domain.rotating import SecretRotator
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.domain.writing import SecretWriter
from services.secure_bot_data.store.catalogue import PostgresCatalogue
from services.secure_bot_data.store.rotations import PostgresRotations
from services.secure_bot_data.store.service_values import ServiceValues
from services.secure_bot_data.store.trail import PostgresTrail
from services.secure_bot_data.store.vault import VaultSecrets
from tests.fakes.engines import settings_of
from tests.integration.mesh.vault.existing import existing_vault, names_of_this_run
from tests.integration.services.secure_bot_data.root import OwnServer, Root

NAME = "secure_bot_data"
CALLER = Caller("spiffe://vivesphere/bot_manager", "127.0.0.1", "request-1")
MINUTE = timedelta(minutes=1)


@dataclass
class Parts:
    """Everything a test may want to take hold of."""

    client: VaultClient
    database: Database
    prefix: str = VaultNames.kv_prefix
    clock: Clock = field(default_factory=SystemClock)
    max_leases: int = 100
    vault: VaultSecrets = field(init=False)
    catalogue: PostgresCatalogue = field(init=False)
    trail: PostgresTrail = field(init=False)
    settler: Settler = field(init=False)
    writer: SecretWriter = field(init=False)
    changer: VersionChanger = field(init=False)
    reader: SecretReader = field(init=False)
    rollback: SecretRollback = field(init=False)
    rotator: SecretRotator = field(init=False)
    values: ServiceValues = field(init=False)

    def __post_init__(self) -> None:
        clock = self.clock
        self.vault = VaultSecrets(self.client, self.prefix)
        self.catalogue = PostgresCatalogue(self.database)
        self.trail = PostgresTrail(self.database, clock)
        self.settler = Settler(self.vault, self.catalogue, clock)
        self.writer = SecretWriter(self.vault, self.catalogue, self.settler, clock, new_id)
        self.changer = VersionChanger(self.vault, self.catalogue, self.settler, clock, new_id)
        self.reader = SecretReader(self.vault, self.trail, clock, new_id, lambda: self.max_leases)
        self.rollback = SecretRollback(self.vault, self.catalogue, self.settler, self.writer, clock)
        self.rotator = SecretRotator(PostgresRotations(self.database), self.settler, new_id)
        self.values = ServiceValues(self.client)


@pytest.fixture(scope="session")
def root(engines: EmbeddedMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """The vault's administrator."""
    found = existing_vault()
    if found is None:
        yield OwnServer(engines)
        return
    names, data = names_of_this_run(), DataDir(tmp_path_factory.mktemp("vault"))
    root = Root(found.address, found.ca_file, found.token, names)
    client = vault_setup.connect(found.address, found.ca_file, found.token)
    try:
        vault_setup.prepare_vault(client, data, engines.registry, names)
        engines.extra[NAME] = root.environment(data)
        yield root
    finally:
        engines.extra.pop(NAME, None)
        root.remove(engines.registry)


@pytest.fixture(scope="session", autouse=True)
def the_vault(root: Root) -> None:
    """Everything of this folder uses the same vault."""


@pytest.fixture
async def open_parts(engines: EmbeddedMesh) -> AsyncIterator[Callable[..., Parts]]:
    """Makes a replica's parts, if need be with a clock of its own; a test may have several."""
    made: list[Parts] = []
    running: list[asyncio.Task[None]] = []

    def make(clock: Clock | None = None) -> Parts:
        settings = settings_of(engines, NAME)
        authority = settings.vault_ca_file or engines.data.tls_files(NAME).ca_file
        client = open_vault(settings.model_copy(update={"vault_ca_file": authority}), SystemClock())
        database = open_database(settings, NAME)
        parts = Parts(client, database, settings.vault_kv_prefix, clock or SystemClock())
        running.extend(
            asyncio.create_task(part.run()) for part in (parts.vault, parts.catalogue, parts.trail)
        )
        made.append(parts)
        return parts

    yield make
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for parts in made:
        await parts.client.close()
        await parts.database.close()


@pytest.fixture
async def parts(open_parts: Callable[[], Parts]) -> Parts:
    return open_parts()


@pytest.fixture
def ref() -> SecretRef:
    """A secret of a bot of this test's own."""
    return SecretRef(new_id(), "x_oauth1")


def oauth1(mark: str = "canary") -> Draft:
    """An OAuth 1.0a secret whose values begin with `mark`."""
    names = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
    return Draft(SecretKind.X_OAUTH1, {name: Secret(f"{mark}-{name}-äß") for name in names})
