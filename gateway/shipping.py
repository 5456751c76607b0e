"""Takes the gateway's own log records to the logging service, as those of every service go there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.settings import GatewaySettings
from mesh.tasks import TaskSet

NAME = "gateway"


@asynccontextmanager
async def shipping(settings: GatewaySettings, instance: str) -> AsyncIterator[None]:
    """Ship what is logged within the block, or nothing without a NATS. Serving never waits for it; what cannot be sent is spooled."""
    if settings.nats_url is None:
        yield
        return
    from mesh.messaging import Messaging  # what a gateway without NATS need not load
    from mesh.settings import TlsSettings
    from mesh.telemetry.shipper import LogShipper
    from mesh.version import VERSION

    tls = TlsSettings(
        cert_file=settings.tls_cert_file, key_file=settings.tls_key_file, ca_file=settings.tls_ca_file
    )
    messaging = Messaging(NAME, settings.nats_url, tls)
    shipper = LogShipper(NAME, instance, messaging, settings.data_dir / "spool", version=VERSION)
    shipper.attach()
    async with TaskSet() as tasks:
        tasks.spawn(messaging.run(), name="messaging")
        tasks.spawn(shipper.run(), name="log shipper")
        try:
            yield
        finally:
            await shipper.close()
