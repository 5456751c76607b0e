"""Parts of authentication put together without its process, and small stand-ins for vault and audit trail."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from mesh.audit import AuditTrail
from mesh.database import Database, open_database
from mesh.errors import MeshError, Unavailable
from mesh.outbox import PUBLISH_TIMEOUT, Outbox
from mesh.secret import Secret
from mesh.settings import ProcessSettings
from services.authentication.domain import totp
from services.authentication.domain.accounts import Accounts, NewUser
from services.authentication.domain.api_key import KeyRules
from services.authentication.domain.api_keys import ApiKeys
from services.authentication.domain.devices import DeviceTokens
from services.authentication.domain.factor import FactorRules
from services.authentication.domain.hashing import HashingPool
from services.authentication.domain.interventions import Interventions
from services.authentication.domain.issuing import Issuer
from services.authentication.domain.keyring import Keyring
from services.authentication.domain.passwords import HashParameters, PasswordPolicy
from services.authentication.domain.permissions import Giver
from services.authentication.domain.proving import Prover
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.second_factor import SecondFactors
from services.authentication.domain.server_secret import ServerSecret
from services.authentication.domain.session import Client, Lifetimes
from services.authentication.domain.sessions import Sessions
from services.authentication.domain.sign_in import SignIn
from services.authentication.domain.throttle import Rules, ThrottleRule
from services.authentication.domain.tokens import TokenPair
from services.authentication.domain.user import User
from services.authentication.store.postgres import PostgresStore
from tests.fakes.clock import ManualClock
from vivesphere.logging.v1 import log_record_pb2

TABLES = (
    "users",
    "sessions",
    "refresh_tokens",
    "signing_keys",
    "sign_in_attempts",
    "idempotency",
    "outbox",
    "revocations",
    "sealed_keys",
    "second_factors",
    "recovery_codes",
    "api_keys",
)
PASSWORD = Secret("correct horse battery")
CLIENT = Client("192.0.2.7", "test/1")
RULES = Rules(
    account=ThrottleRule(6, timedelta(seconds=60)),
    address=ThrottleRule(50, timedelta(seconds=60)),
    pair=ThrottleRule(3, timedelta(seconds=60)),
)
ROTATION = timedelta(days=30)
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
class Dials:
    """Settings that a test may turn."""

    factors: FactorRules = field(default_factory=FactorRules)
    api_keys: KeyRules = field(default_factory=KeyRules)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A user with a second factor, and the session that turned it on."""

    user: User
    pair: TokenPair
    secret: bytes
    codes: tuple[Secret, ...]


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
    server_secret: ServerSecret
    issuer: Issuer
    devices: DeviceTokens
    sign_in: SignIn
    sessions: Sessions
    accounts: Accounts
    factors: SecondFactors
    api_keys: ApiKeys
    dials: Dials

    def otp(self, secret: bytes, steps: int = 0) -> Secret:
        """What the authenticator app shows, now or some steps away."""
        return Secret(totp.code(secret, totp.step_at(self.clock.now()) + steps))

    async def enrolled(self, username: str = "ann") -> Enrolled:
        """A new user with a confirmed second factor; its next code is good, the one of now is used."""
        user = await self.user(username)
        pair = await self.sign_in.sign_in(username, PASSWORD, CLIENT)
        made = await self.factors.enroll(user.id, pair.session_id, None)
        secret = base64.b32decode(made.secret.reveal())
        codes = await self.factors.confirm(user.id, pair.session_id, self.otp(secret))
        return Enrolled(user, pair, secret, codes)

    interventions: Interventions

    async def user(self, username: str = "ann", *roles: str) -> User:
        """An active user whose password is PASSWORD."""
        return await self.accounts.create(NewUser(username, PASSWORD, roles=roles), ROOT, None)


@contextmanager
def refused(kind: type[MeshError], reason: str) -> Iterator[None]:
    """The block must be refused this way."""
    with pytest.raises(kind) as error:
        yield
    assert error.value.reason == reason


async def rows(database: Database, table: str) -> int:
    """How many there are."""
    async with database.read() as connection:
        counted = await connection.execute(text(f"SELECT count(*) FROM {table}"))  # noqa: S608 - a name of our own
        return int(counted.scalar_one())


async def dumped(database: Database) -> bytes:
    """Everything that is in the tables: each row as PostgreSQL writes it, and what is bytes once more as such."""
    found: list[bytes] = []
    async with database.read() as connection:
        for table in TABLES:
            for row in await connection.execute(text(f"SELECT {table}.*, {table}::text FROM {table}")):  # noqa: S608 - names of our own
                found += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\n".join(found)


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
    keyring = Keyring(store, sealer, lambda: ROTATION, clock)
    server_secret = ServerSecret(store, sealer, clock)
    lifetimes = Lifetimes(idle=timedelta(days=1), session=timedelta(days=3), max_per_user=20)
    issuer = Issuer(keyring, lambda: lifetimes, clock)
    prover = Prover(store, hashing, lambda: RULES, clock)
    devices = DeviceTokens(lambda: server_secret.key(b"device token"))
    dials = Dials()
    factors = SecondFactors(store, sealer, prover, lambda: dials.factors, trail, clock)
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
        server_secret=server_secret,
        sessions=Sessions(store, keyring, issuer, lambda: server_secret.key(b"refresh token"), trail, clock),
        sign_in=SignIn(store, prover, factors, devices, issuer, PasswordPolicy, trail, clock),
        accounts=Accounts(store, hashing, PasswordPolicy, trail, clock),
        interventions=Interventions(store, hashing, PasswordPolicy, trail, clock),
        factors=factors,
        api_keys=ApiKeys(store, lambda: dials.api_keys, trail, clock),
        dials=dials,
    )


async def revoked(world: World) -> list[tuple[RevocationKind, str]]:
    """What the feed holds of this test, oldest first."""
    async with world.store.read() as unit:
        return [(e.kind, e.target_id) for e in await unit.revocations.after(0, world.clock.now(), 1000)]


async def noted(database: Database) -> list[log_record_pb2.LogRecord]:
    """Events on the trail, oldest first."""
    query = "SELECT payload FROM outbox WHERE subject = 'audit.authentication' ORDER BY create_time, id"
    async with database.read() as connection:
        payloads = (await connection.execute(text(query))).scalars().all()
    return [log_record_pb2.LogRecord.FromString(payload) for payload in payloads]
