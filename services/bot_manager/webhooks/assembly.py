"""Where the parts of webhooks meet."""

from datetime import timedelta
from typing import Any, Final

from loguru import logger

from mesh.errors import MeshError
from mesh.ids import new_id
from mesh.process import Process
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.settings import KEEP
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.outbound import open_session
from services.bot_manager.store.deliveries import PostgresDeliveries
from services.bot_manager.store.webhooks import PostgresWebhooks
from services.bot_manager.webhooks.calling import Caller
from services.bot_manager.webhooks.cases import Webhooks
from services.bot_manager.webhooks.making import Maker
from services.bot_manager.webhooks.sealing import Sealer
from services.bot_manager.webhooks.sending import Sender
from services.bot_manager.webhooks.settings import DEFINITIONS, WebhookSettings

PRUNE: Final = timedelta(minutes=10)


def assemble(process: Process, secrets: Any) -> Webhooks:
    """Define the settings and start the loops. `secrets` is a stub of BotSecretService. Needs a running loop."""
    process.define_settings(*DEFINITIONS)
    configuration, database, clock = process.configuration, process.database, process.clock

    def settings() -> WebhookSettings:
        return configuration.view(WebhookSettings)

    session = open_session(lambda: settings().allow_private)
    process.stack.push_async_callback(session.close)
    deliveries, sealer = PostgresDeliveries(database), Sealer(secrets, clock)
    sender = Sender(deliveries, sealer, Caller(session, settings, clock), settings, process.tasks, clock)
    maker = Maker(deliveries, Ticks(database), StoredEvents(database), clock, sender.wake)

    async def prune() -> None:
        while True:
            await clock.sleep(PRUNE)
            try:
                await deliveries.prune(clock.now() - timedelta(seconds=configuration.value(KEEP)))
            except MeshError as error:
                logger.bind(reason=error.reason).warning("deliveries not pruned")

    process.tasks.spawn_loop(maker.run, name="webhook deliveries")
    process.tasks.spawn_loop(sender.run, name="webhooks")
    process.tasks.spawn_loop(prune, name="prune deliveries")
    return Webhooks(PostgresWebhooks(database), deliveries, sealer, sender, settings, clock, new_id)
