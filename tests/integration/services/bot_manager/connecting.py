"""A connect flow with hands on it: real database, and apps, X's token endpoint and the sealer as a test wants them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mesh.clock import Clock
from mesh.database import Database
from mesh.errors import MeshError, NotFound
from mesh.ids import new_id
from mesh.secret import Secret
from services.bot_manager.connect.addresses import Addresses
from services.bot_manager.connect.flow import ConnectFlow
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.connects import PostgresOAuthConnects
from services.bot_manager.tokens.port import AuthorizationCode, TokenPair

GRANTED = "tweet.read tweet.write users.read media.write offline.access"
AUTHORIZE = "https://x.example/i/oauth2/authorize"
PUBLIC = "https://bots.example"


@dataclass
class FakeApps:
    """Client ids by app, and secrets by client id."""

    clients: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)

    async def client_of(self, app_id: str) -> str:
        """See AppClients."""
        if app_id not in self.clients:
            raise NotFound("APP_NOT_FOUND", "no such app")
        return self.clients[app_id]

    async def app_of(self, client_id: str) -> str:
        """See AppClients."""
        return next((app_id for app_id, known in self.clients.items() if known == client_id), "")

    async def secret_of(self, client_id: str) -> Secret | None:
        """See ClientKeys."""
        return self.secrets.get(client_id)


class FakeCodeEndpoint:
    """Gives a pair for every code; `fail_next` makes the next exchange fail."""

    def __init__(self) -> None:
        self.scope = GRANTED
        self.codes: list[tuple[AuthorizationCode, Secret | None]] = []
        self.revoked: list[Mapping[str, Secret]] = []
        self._failures: list[MeshError] = []

    def fail_next(self, error: MeshError) -> None:
        """The next exchange raises this."""
        self._failures.append(error)

    async def exchange_code(self, granted: AuthorizationCode, secret: Secret | None) -> TokenPair:
        """See CodeEndpoint."""
        if self._failures:
            raise self._failures.pop()
        self.codes.append((granted, secret))
        end = datetime(2030, 1, 1, tzinfo=UTC)
        return TokenPair(Secret("canary-access"), Secret("canary-refresh"), end, self.scope)

    async def revoke(self, fields: Mapping[str, Secret]) -> None:
        """See CodeEndpoint."""
        self.revoked.append(fields)


class FakeSealer:
    """Keeps what was sealed; the ciphertext is an id."""

    def __init__(self) -> None:
        self.sealed: dict[tuple[str, str], Secret] = {}

    async def seal(self, value: Secret, connect_id: str) -> str:
        """See Sealer."""
        ciphertext = new_id()
        self.sealed[ciphertext, connect_id] = value
        return ciphertext

    async def open(self, ciphertext: str, connect_id: str) -> Secret:
        """See Sealer."""
        return self.sealed[ciphertext, connect_id]


def flow_of(
    database: Database,
    credentials: Credentials,
    clock: Clock,
    apps: FakeApps | None = None,
    endpoint: FakeCodeEndpoint | None = None,
) -> ConnectFlow:
    """A flow on these parts."""
    apps = apps or FakeApps()
    return ConnectFlow(
        PostgresBots(database, "test-1"),
        PostgresOAuthConnects(database),
        apps,
        apps,
        endpoint or FakeCodeEndpoint(),
        credentials,
        FakeSealer(),
        Addresses(AUTHORIZE, PUBLIC),
        clock,
        new_id,
    )
