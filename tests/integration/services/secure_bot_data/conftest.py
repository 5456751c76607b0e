"""The service's parts on the real engines: OpenBao under the service's own AppRole, PostgreSQL under its own role."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.database import Database, open_database
from mesh.ids import new_id
from mesh.secret import Secret
from mesh.settings import ProcessSettings
from mesh.vault import VaultClient
from services.secure_bot_data.domain.changing import VersionChanger
from services.secure_bot_data.domain.model import Caller, Draft, SecretKind, SecretRef
from services.secure_bot_data.domain.reading import SecretReader
from services.secure_bot_data.domain.rolling_back import SecretRollback
from services.secure_bot_data.domain.settling import Settler
from services.secure_bot_data.domain.writing import SecretWriter
from services.secure_bot_data.store.catalogue import PostgresCatalogue
from services.secure_bot_data.store.service_values import ServiceValues
from services.secure_bot_data.store.trail import PostgresTrail
from services.secure_bot_data.store.vault import VaultSecrets
from tests.integration.services.secure_bot_data.root import Root

NAME = "secure_bot_data"
CALLER = Caller("spiffe://vivesphere/bot_manager", "127.0.0.1", "request-1")
MINUTE = timedelta(minutes=1)


@dataclass
class Parts:
    """Everything a test may want to take hold of."""

    client: VaultClient
    database: Database
    max_leases: int = 100
    vault: VaultSecrets = field(init=False)
    catalogue: PostgresCatalogue = field(init=False)
    trail: PostgresTrail = field(init=False)
    settler: Settler = field(init=False)
    writer: SecretWriter = field(init=False)
    changer: VersionChanger = field(init=False)
    reader: SecretReader = field(init=False)
    rollback: SecretRollback = field(init=False)
    values: ServiceValues = field(init=False)

    def __post_init__(self) -> None:
        clock = SystemClock()
        self.vault = VaultSecrets(self.client)
        self.catalogue = PostgresCatalogue(self.database)
        self.trail = PostgresTrail(self.database)
        self.settler = Settler(self.vault, self.catalogue, clock)
        self.writer = SecretWriter(self.vault, self.catalogue, self.settler, clock, new_id)
        self.changer = VersionChanger(self.vault, self.catalogue, self.settler, clock, new_id)
        self.reader = SecretReader(self.vault, self.trail, clock, new_id, lambda: self.max_leases)
        self.rollback = SecretRollback(self.vault, self.catalogue, self.settler, self.writer, clock)
        self.values = ServiceValues(self.client)


@pytest.fixture
async def open_parts(engines: EmbeddedMesh) -> AsyncIterator[Callable[[], Parts]]:
    """Makes a replica's parts; a test may have several."""
    environment = engines.environment(NAME)
    made: list[Parts] = []

    def make() -> Parts:
        settings = ProcessSettings(
            database_url=environment["VIVESPHERE_DATABASE_URL"],
            database_password_file=Path(environment["VIVESPHERE_DATABASE_PASSWORD_FILE"]),
        )
        client = VaultClient(
            environment["VIVESPHERE_VAULT_ADDR"],
            ca_file=Path(environment["VIVESPHERE_TLS_CA_FILE"]),
            role_id_file=Path(environment["VIVESPHERE_VAULT_ROLE_ID_FILE"]),
            secret_id_file=Path(environment["VIVESPHERE_VAULT_SECRET_ID_FILE"]),
            clock=SystemClock(),
        )
        made.append(Parts(client, open_database(settings, NAME)))
        return made[-1]

    yield make
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


@pytest.fixture
def root(engines: EmbeddedMesh) -> Root:
    """The vault's administrator."""
    return Root(engines)


def oauth1(mark: str = "canary") -> Draft:
    """An OAuth 1.0a secret whose values begin with `mark`."""
    names = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")
    return Draft(SecretKind.X_OAUTH1, {name: Secret(f"{mark}-{name}-äß") for name in names})
