"""Where the parts of schedules meet."""

from collections.abc import Callable
from datetime import timedelta

from mesh.ids import new_id
from mesh.process import Process
from services.bot_manager.domain.making import Maker
from services.bot_manager.feeds.source import FeedSource
from services.bot_manager.schedules.drafts import draft_of
from services.bot_manager.schedules.expander import Expander
from services.bot_manager.schedules.expansion import Expansion
from services.bot_manager.schedules.settings import DEFINITIONS, Scheduling
from services.bot_manager.schedules.sources import SOURCES


def assemble(
    process: Process,
    *,
    maker: Maker,
    lateness: Callable[[], timedelta],
    feeds: Callable[[], None],
    wake: Callable[[], None],
) -> Expander:
    """Define the settings and start the loop. `feeds` wakes the reader of feeds, `wake` tells the publisher that posts may be due."""
    process.define_settings(*DEFINITIONS)
    sources = {**SOURCES, "feed": FeedSource(draft_of, feeds)}
    expander = Expander(
        process.database,
        Expansion(maker, sources, new_id, lateness, process.instance),
        lambda: process.configuration.view(Scheduling),
        process.clock,
        process.instance,
        wake,
    )
    process.tasks.spawn_loop(expander.run, name="expander")
    return expander
