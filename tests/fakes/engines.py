"""What a service needs of the shared engines, made in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.embedded import EmbeddedMesh
from mesh.database import Database, open_database
from mesh.messaging import Messaging
from mesh.settings import ProcessSettings
from mesh.tasks import TaskSet

_PREFIX = "VIVESPHERE_"


def settings_of(engines: EmbeddedMesh, service: str) -> ProcessSettings:
    """The bootstrap settings that the service would read from its environment."""
    environment = {
        name.removeprefix(_PREFIX).lower(): value for name, value in engines.environment(service).items()
    }
    fields = ProcessSettings.model_fields
    return ProcessSettings(**{name: value for name, value in environment.items() if name in fields})


@asynccontextmanager
async def database_of(engines: EmbeddedMesh, service: str) -> AsyncIterator[Database]:
    """The service's schema, as its own role."""
    database = open_database(settings_of(engines, service), service)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def messaging_of(engines: EmbeddedMesh, service: str) -> AsyncIterator[Messaging]:
    """The service's connection to NATS, connected."""
    messaging = Messaging(service, engines.nats_url, engines.data.tls_files(service))
    async with TaskSet() as tasks:
        tasks.spawn(messaging.run(), name="messaging")
        await messaging.wait_connected()
        yield messaging
