"""Engines of their own: a job goes through all secrets there are, and retiring a version of the key would hit those of other tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from cli.embedded import EmbeddedMesh
from mesh.clock import SystemClock
from mesh.ids import new_id
from services.secure_bot_data.domain.keys import KeyKeeper
from services.secure_bot_data.domain.model import JobState, RewrapJob, SecretRef
from services.secure_bot_data.domain.rewrapping import Rewrapper, SecretRewrapper
from services.secure_bot_data.store.keys import PostgresKeyCatalogue
from services.secure_bot_data.store.rewrap_jobs import PostgresRewrapJobs
from tests.integration.services.secure_bot_data.conftest import CALLER, Parts, oauth1
from tests.integration.services.secure_bot_data.root import OwnServer, Root

ACTOR = "0190c6a1-0000-7000-8000-000000000001"
PATIENCE_SECONDS = 60
TABLES = ("secrets", "secret_versions", "announcements", "rotations", "rewrap_jobs")


@dataclass
class Replica:
    """A replica's parts, those for the key included."""

    parts: Parts
    keys: PostgresKeyCatalogue = field(init=False)
    keeper: KeyKeeper = field(init=False)
    jobs: PostgresRewrapJobs = field(init=False)
    secret: SecretRewrapper = field(init=False)
    rewrapper: Rewrapper = field(init=False)

    def __post_init__(self) -> None:
        parts, clock = self.parts, SystemClock()
        self.keys = PostgresKeyCatalogue(parts.database)
        self.keeper = KeyKeeper(parts.vault, self.keys)
        self.jobs = PostgresRewrapJobs(parts.database)
        self.secret = SecretRewrapper(parts.vault, self.keys, parts.writer, parts.changer, parts.settler)
        self.rewrapper = Rewrapper(parts.vault, self.jobs, self.secret, clock, new_id)

    async def write(self, count: int) -> list[SecretRef]:
        """Secrets of as many bots, in the order in which a job goes through them; each tells its bot."""
        refs = sorted((SecretRef(new_id(), "x_oauth1") for _ in range(count)), key=lambda ref: ref.bot_id)
        slots = asyncio.Semaphore(8)

        async def one(ref: SecretRef) -> None:
            async with slots:
                await self.parts.writer.put(ref, oauth1(ref.bot_id), None, CALLER)

        await asyncio.gather(*(one(ref) for ref in refs))
        return refs

    async def start(self, *, destroy_earlier: bool = False) -> RewrapJob:
        """A new version of the key and a job that nobody works on yet."""
        await self.keeper.rotate(None)
        return await self.rewrapper.start(ACTOR, destroy_earlier=destroy_earlier)

    async def becomes(self, job: RewrapJob, happens: Callable[[RewrapJob], bool]) -> RewrapJob:
        """The job as soon as it is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not happens(found := await self.jobs.get(job.id)):
                await asyncio.sleep(0.05)
        return found

    async def ends(self, job: RewrapJob) -> RewrapJob:
        """The job when it has ended."""
        return await self.becomes(job, lambda found: found.state is not JobState.RUNNING)

    async def finish(self, job: RewrapJob) -> RewrapJob:
        """Works on the job until it has ended."""
        async with self.working():
            return await self.ends(job)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Works on whatever job runs, for the length of the block; fails the test when it breaks."""
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(self.rewrapper.run())
            yield
            work.cancel()


@pytest.fixture(scope="package")
async def engines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedMesh]:
    """See above."""
    async with EmbeddedMesh(tmp_path_factory.mktemp("rewrapping"), fsync=False) as mesh:
        yield mesh


@pytest.fixture(scope="package")
def root(engines: EmbeddedMesh) -> Root:
    """The administrator of their vault."""
    return OwnServer(engines)


@pytest.fixture(scope="package", autouse=True)
def the_vault() -> None:
    """Here it is that of the engines, whatever VAULT_ADDR says."""


@pytest.fixture(autouse=True)
def empty(engines: EmbeddedMesh) -> None:
    """Each test has a catalogue of its own."""
    with engines.admin.connect(autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(f'secure_bot_data.{name}' for name in TABLES)}")


@pytest.fixture
async def replica(parts: Parts) -> Replica:
    return Replica(parts)


@pytest.fixture
async def other(open_parts: Callable[[], Parts]) -> Replica:
    """A second replica."""
    return Replica(open_parts())
