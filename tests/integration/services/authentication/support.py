"""Parts of authentication put together without its process, and small stand-ins for vault and audit trail."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from mesh.audit import AuditTrail
from mesh.database import Database, open_database
from mesh.errors import Unavailable
from mesh.outbox import PUBLISH_TIMEOUT, Outbox
from mesh.secret import Secret
from mesh.settings import ProcessSettings
from services.authentication.domain.accounts import Accounts, NewUser
from services.authentication.domain.devices import DeviceTokens
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.interventions import Interventions
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.passwords import HashParameters, PasswordPolicy
from services.authentication.domain.permissions import Giver
from services.authentication.domain.proving import Prover
from services.authentication.domain.session import Client, Lifetimes
from services.authentication.domain.sessions import Sessions
from services.authentication.domain.sign_in import SignIn
from services.authentication.domain.throttle import Rules, ThrottleRule
from services.authentication.domain.user import User
from services.authentication.store.postgres import PostgresStore
from tests.fakes.clock import ManualClock

TABLES = (
    "users",
    "sessions",
    "second_factors",
    "api_keys",
    "refresh_tokens",
    "signing_keys",
    "sign_in_attempts",
    "idempotency",
    "outbox",
    "revocations",
    "sealed_keys",
)
PASSWORD = Secret("correct horse battery")
CLIENT = Client("192.0.2.7", "test/1")
RULES = Rules(
    account=ThrottleRule(6, timedelta(seconds=60)),
    address=ThrottleRule(50, timedelta(seconds=60)),
    pair=ThrottleRule(3, timedelta(seconds=60)),
)
ROOT = Giver(frozenset({"*"}), {"admin": frozenset({"*"}), "viewer": frozenset({"bots.read"})})


class FakeSealer:
    """Turns bytes around. `away` makes it unavailable, as a sealed vault is."""

    def __init__(self) -> None:
        self.away = False

    async def seal(self, plaintext: bytes, bound_to: bytes) -> str:
        self._check()
        return (bound_to + plaintext[::-1]).hex()

    async def open(self, sealed: str, bound_to: bytes) -> bytes:
        self._check()
        return bytes.fromhex(sealed).removeprefix(bound_to)[::-1]

    def _check(self) -> None:
        if self.away:
            raise Unavailable("VAULT_UNAVAILABLE", "the vault is away")


class FakeTrail:
    """Remembers what calls were about."""

    def __init__(self) -> None:
        self.resources: list[str] = []

    def about(self, resource: str) -> None:
        self.resources.append(resource)


@dataclass(slots=True)
class World:
    """The service's parts without its process."""

    store: PostgresStore
    clock: ManualClock
    sealer: FakeSealer
    trail: FakeTrail
    hashing: HashingPool
    cost: HashParameters
    keyring: Keyring
    issuer: Issuer
    devices: DeviceTokens
    sign_in: SignIn
    sessions: Sessions
    accounts: Accounts
    interventions: Interventions

    async def user(self, username: str = "ann", *roles: str) -> User:
        """An active user whose password is PASSWORD."""
        return await self.accounts.create(NewUser(username, PASSWORD, roles=roles), ROOT, None)


async def wipe(database: Database) -> None:
    """Empty tables: the schema is shared by all tests of a run."""
    async with database.transaction() as connection:
        for table in TABLES:
            await connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of our own


def open_schema(environment: Mapping[str, str]) -> Database:
    """The service's schema as the service's own role."""
    settings = ProcessSettings(
        database_url=environment["VIVESPHERE_DATABASE_URL"],
        database_password_file=Path(environment["VIVESPHERE_DATABASE_PASSWORD_FILE"]),
    )
    return open_database(settings, "authentication")


def audit_trail(database: Database, clock: ManualClock) -> AuditTrail:
    """The real trail, as far as the outbox: nothing relays it."""
    outbox = Outbox(database, NoPublisher())
    return AuditTrail("authentication", "test", database, outbox, clock)


class NoPublisher:
    """Nothing is published: messages stay in the outbox, where a test can read them."""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = PUBLISH_TIMEOUT,
    ) -> None:
        raise Unavailable("MESSAGING_UNAVAILABLE", "nothing is published here")


def build(database: Database) -> World:
    """One replica of the service's parts."""
    clock, sealer, trail = ManualClock(), FakeSealer(), FakeTrail()
    store = PostgresStore(database, audit_trail(database, clock))
    cost = HashParameters(iterations=1, memory_kib=64, lanes=1)
    hashing = HashingPool(2, 400, lambda: cost)
    keyring = Keyring(store, sealer, clock)
    lifetimes = Lifetimes(idle=timedelta(days=1), session=timedelta(days=3), max_per_user=5)
    issuer = Issuer(keyring, lambda: lifetimes, clock)
    prover = Prover(store, hashing, lambda: RULES, clock)
    devices = DeviceTokens(lambda: b"d" * 32)
    return World(
        store=store,
        clock=clock,
        sealer=sealer,
        trail=trail,
        hashing=hashing,
        cost=cost,
        keyring=keyring,
        issuer=issuer,
        devices=devices,
        sign_in=SignIn(store, prover, devices, issuer, PasswordPolicy, trail, clock),
        sessions=Sessions(store, keyring, issuer, trail, clock),
        accounts=Accounts(store, hashing, PasswordPolicy, trail, clock),
        interventions=Interventions(store, hashing, PasswordPolicy, trail, clock),
    )
