"""What bringing a file to X needs: the stores, the way to X, the settings of the moment, and a slice of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from mesh.clock import Clock
from services.bot_manager.domain.media import MediaKind, Medium
from services.bot_manager.domain.retry import Rules
from services.bot_manager.store.uploads import Upload
from services.bot_manager.x.port import XMediaPort

MARGIN: Final = timedelta(minutes=10)
"""How long an id of X must still be good."""
CATEGORIES: Final = {
    MediaKind.IMAGE: "tweet_image",
    MediaKind.GIF: "tweet_gif",
    MediaKind.VIDEO: "tweet_video",
}
NAMES: Final = {MediaKind.IMAGE: "the image", MediaKind.GIF: "the GIF", MediaKind.VIDEO: "the video"}


@dataclass(frozen=True, slots=True)
class UploadSettings:
    """The settings of the moment. `slice` is how long to work on a post's media at a time."""

    rules: Rules
    slice: timedelta
    call_timeout: timedelta
    processing_limit: timedelta


class Library(Protocol):
    """The part of the store that is used; see `store/library.py`."""

    async def find(self, ids: Sequence[str]) -> Mapping[str, Medium]: ...
    async def read(self, medium_id: str, offset: int, length: int) -> bytes: ...
    async def fail(self, medium_id: str, message: str, now: datetime) -> None: ...


class Uploads(Protocol):
    """The part of the store that is used; see `store/uploads.py`."""

    async def find(self, ids: Sequence[str], account: str) -> Mapping[str, Upload]: ...
    async def seize(self, media_id: str, account: str, now: datetime, until: datetime) -> Upload | None: ...
    async def save(self, upload: Upload, busy_until: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What every way needs."""

    library: Library
    uploads: Uploads
    x: XMediaPort
    clock: Clock


class Slice:
    """Time that may be spent."""

    def __init__(self, clock: Clock, length: timedelta) -> None:
        self._clock = clock
        self._end = clock.monotonic() + length.total_seconds()

    @property
    def left(self) -> timedelta:
        """Never less than nothing."""
        return timedelta(seconds=max(0.0, self._end - self._clock.monotonic()))
