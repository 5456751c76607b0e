"""Where the parts that tell what happens meet."""

from datetime import timedelta
from typing import Final

from loguru import logger

from mesh.errors import MeshError
from mesh.messaging.hints import Hints
from mesh.process import Process
from services.bot_manager.events.hub import Hub
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.settings import DEFINITIONS, KEEP, MAX_WATCHERS
from services.bot_manager.events.ticks import Ticks

HINTS: Final = "hints.bot_manager"
PRUNE: Final = timedelta(minutes=10)


def assemble(process: Process) -> Hub:
    """Define the settings and start the loops."""
    process.define_settings(*DEFINITIONS)
    value, ticks = process.configuration.value, Ticks(process.database)
    hub = Hub(
        ticks,
        StoredEvents(process.database),
        lambda: value(MAX_WATCHERS),
        process.clock,
        made=lambda number: hints.announce(number),
    )
    hints = Hints(process.messaging, HINTS, hub.wake)

    async def prune() -> None:
        while True:
            await process.clock.sleep(PRUNE)
            try:
                await ticks.prune(process.clock.now() - timedelta(seconds=value(KEEP)))
            except MeshError as error:
                logger.bind(reason=error.reason).warning("events not pruned")

    async def end_streams() -> None:
        await process.stopping.wait()
        hub.close()

    process.database.after_commit(hub.wake)
    process.tasks.spawn(end_streams(), name="end event streams")
    process.tasks.spawn_loop(hints.run, name="hints of events")
    process.tasks.spawn_loop(hub.run, name="events")
    process.tasks.spawn_loop(prune, name="prune events")
    return hub
