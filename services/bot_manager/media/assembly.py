"""Where the parts of media meet, and what the rest of the service may ask of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from secrets import SystemRandom

from mesh.process import Process
from services.bot_manager.domain.limits import CallCount, free_of_charge
from services.bot_manager.media.inspection import Inspector
from services.bot_manager.media.intake import Intake
from services.bot_manager.media.means import Tools, UploadSettings
from services.bot_manager.media.settings import CALL_TIMEOUT, DEFINITIONS, KEEP, PROCESSING_LIMIT
from services.bot_manager.media.shelf import LibraryShelf
from services.bot_manager.media.uploading import MediaUploader
from services.bot_manager.publishing.settings import PublishSettings
from services.bot_manager.servicers.media import MediaServicer
from services.bot_manager.store.library import PostgresLibrary
from services.bot_manager.store.ports import BotStore
from services.bot_manager.store.uploads import PostgresUploads
from services.bot_manager.x.media import MediaCalls
from services.bot_manager.x.tweepy_port import TweepyPort


@dataclass(frozen=True, slots=True)
class MediaParts:
    """`keep` is the setting of the moment."""

    library: PostgresLibrary
    shelf: LibraryShelf
    servicer: MediaServicer
    uploader: Callable[[Callable[[], PublishSettings]], MediaUploader]
    keep: Callable[[], timedelta]


def assemble(
    process: Process, *, bots: BotStore, x: TweepyPort, count: CallCount = free_of_charge
) -> MediaParts:
    """Define the settings and put the parts together. `count` is told of calls that X has taken."""
    process.define_settings(*DEFINITIONS)
    value, clock = process.configuration.value, process.clock
    library = PostgresLibrary(process.database)

    def keep() -> timedelta:
        return timedelta(seconds=value(KEEP))

    def call_timeout() -> timedelta:
        return timedelta(seconds=value(CALL_TIMEOUT))

    def uploader(publishing: Callable[[], PublishSettings]) -> MediaUploader:
        def settings() -> UploadSettings:
            now = publishing()
            limit = timedelta(seconds=value(PROCESSING_LIMIT))
            return UploadSettings(now.rules, now.upload_slice, call_timeout(), limit)

        tools = Tools(library, PostgresUploads(process.database), MediaCalls(x, call_timeout), clock)
        return MediaUploader(tools, settings, SystemRandom().random, count)

    servicer = MediaServicer(Intake(library, bots, Inspector(), clock, keep), library)
    return MediaParts(library, LibraryShelf(library, clock), servicer, uploader, keep)
