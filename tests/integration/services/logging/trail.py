"""A trail of a test's own: a chain beside the others in the same tables, with everything that signs, proves, erases and removes it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.database import Database
from mesh.ids import new_id
from mesh.messaging import Messaging
from mesh.vault import VaultClient, open_vault
from services.logging.auditing.checkpointing import Checkpointer
from services.logging.auditing.erasing import Eraser
from services.logging.auditing.outside import StreamOutside
from services.logging.auditing.proving import Proof, Prover, Question
from services.logging.auditing.retaining import TrailRetention
from services.logging.auditing.signing import VaultSigner
from services.logging.domain.chain import GENESIS, AuditEvent, ChainedEvent, plain_link
from services.logging.store.audit import PostgresAuditStore
from services.logging.store.erasing import PostgresRecordEraser
from services.logging.store.statements import PostgresStatementStore
from services.logging.store.tables import audit_events
from tests.fakes.clock import ManualClock
from tests.fakes.engines import database_of, messaging_of, settings_of

NAME = "logging"


@asynccontextmanager
async def vault_of(engines: EmbeddedMesh) -> AsyncIterator[VaultClient]:
    """The service at the vault, under its own AppRole and policy."""
    settings = settings_of(engines, NAME)
    authority = settings.vault_ca_file or engines.data.tls_files(NAME).ca_file
    client = open_vault(settings.model_copy(update={"vault_ca_file": authority}), SystemClock())
    try:
        yield client
    finally:
        await client.close()


@dataclass
class Trail:
    """One chain with its parts, as one replica has them."""

    engines: EmbeddedMesh
    database: Database
    messaging: Messaging
    vault: VaultClient
    chain: str = field(default_factory=lambda: f"test-{new_id()}")
    clock: ManualClock = field(default_factory=lambda: ManualClock(datetime.now(UTC)))
    pace: tuple[int, int] = (60, 1_000)
    days: int = 0

    def __post_init__(self) -> None:
        self.events = PostgresAuditStore(self.database, chain=self.chain)
        self.statements = PostgresStatementStore(self.database)
        self.signer = VaultSigner(self.vault.transit())
        self.outside = StreamOutside(self.messaging)
        self.checkpointer = Checkpointer(
            self.events,
            self.statements,
            self.signer,
            self.outside,
            self.clock,
            lambda: self.pace,
            self.chain,
        )
        self.retention = TrailRetention(
            self.database,
            self.events,
            self.statements,
            self.signer,
            self.clock,
            lambda: self.days,
            self.chain,
        )
        self.prover = Prover(self.events, self.statements, self.signer, self.outside)
        self.eraser = Eraser(self.database, self.statements, PostgresRecordEraser())

    async def append(self, count: int, *, age: timedelta = timedelta(), actor: str = "") -> None:
        """Chain events of this time and age."""
        time = datetime.now(UTC) - age
        async with self.database.transaction() as connection:
            await self.events.append(
                connection, [event(time + timedelta(milliseconds=n), actor) for n in range(count)]
            )

    async def append_plain(self, count: int, *, actor: str) -> None:
        """Begin the chain with events of the first format, as an earlier version left them."""
        last = GENESIS
        async with self.database.transaction() as connection:
            for sequence in range(1, count + 1):
                made = plain_link(sequence, event(datetime.now(UTC), actor), last, self.chain)
                last = made.hash
                place = {
                    "chain": self.chain,
                    "sequence": sequence,
                    "hash": last,
                    "previous_hash": made.previous_hash,
                }
                await connection.execute(insert(audit_events), [place | asdict(made.event)])

    async def checkpoint(self) -> None:
        """Sign the end now, as the loop would."""
        self.pace = (0, 1)
        await self.checkpointer.look()
        await self.checkpointer.check()

    async def proof(self, **question: Any) -> Proof:
        """What the service would answer."""
        return await self.prover.prove(Question(self.chain, **question))

    async def found(self, **question: Any) -> tuple[str, int] | None:
        """Kind and place of the defect."""
        defect = (await self.proof(**question)).defect
        return None if defect is None else (defect.kind.name, defect.sequence)

    async def read(self) -> list[ChainedEvent]:
        """The whole chain."""
        return await self.events.read(self.chain, -1, 10_000)

    def tamper(self, *statements: str, **values: Any) -> None:
        """Run SQL as the owner of the tables, who may do everything. %(chain)s is this chain."""
        with self.engines.admin.connect() as connection:
            connection.execute("SET search_path TO logging")
            for statement in statements:
                connection.execute(statement, {"chain": self.chain, **values})  # type: ignore[arg-type]  # built by tests

    def rewrite(self, events: Sequence[ChainedEvent]) -> None:
        """Put other content, hashes and commitments under these sequences, as the owner could."""
        for item in events:
            self.tamper(
                "UPDATE audit_events SET actor = %(actor)s, commitment = %(commitment)s, hash = %(hash)s,"
                " previous_hash = %(previous)s WHERE chain = %(chain)s AND sequence = %(sequence)s",
                actor=item.event.actor,
                commitment=item.commitment,
                hash=item.hash,
                previous=item.previous_hash,
                sequence=item.sequence,
            )


def event(time: datetime, actor: str = "") -> AuditEvent:
    """Something that a user did."""
    return AuditEvent(
        id=new_id(),
        time=time,
        service="bot_manager",
        actor=actor or new_id(),
        action="/vivesphere.bot_manager.v1.BotService/CreateBot",
        resource="bots/1",
        outcome="OK",
        reason="",
        bot_id="",
        request_id="",
        trace_id="",
        peer="127.0.0.1",
        peer_identity="",
        user_agent="test",
        session_id="",
        request={"handle": "kept", "count": 3, "share": 0.1},
    )


@asynccontextmanager
async def open_trail(engines: EmbeddedMesh) -> AsyncIterator[Trail]:
    """A trail on the real engines."""
    async with (
        database_of(engines, NAME) as database,
        messaging_of(engines, NAME) as messaging,
        vault_of(engines) as vault,
    ):
        yield Trail(engines, database, messaging, vault)
