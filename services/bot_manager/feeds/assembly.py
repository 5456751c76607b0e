"""Where the parts of feeds meet."""

from datetime import timedelta

from mesh.process import Process
from services.bot_manager.feeds.fetcher import FeedFetcher
from services.bot_manager.feeds.reader import FeedReader
from services.bot_manager.feeds.settings import ALLOW_PRIVATE, DEFINITIONS, TIME_LIMIT
from services.bot_manager.store.feeds import PostgresFeeds


def assemble(process: Process) -> FeedReader:
    """Define the settings and start to read."""
    process.define_settings(*DEFINITIONS)
    value = process.configuration.value
    fetcher = FeedFetcher(
        time_limit=lambda: timedelta(seconds=value(TIME_LIMIT)), allow_private=lambda: value(ALLOW_PRIVATE)
    )
    process.stack.push_async_callback(fetcher.close)
    reader = FeedReader(PostgresFeeds(process.database), fetcher, process.clock)
    process.tasks.spawn_loop(reader.run, name="feeds")
    return reader
