"""What is known of pictures and films, and what X takes: kinds, states, limits and the sentences of their refusals.

Limits are those of the contract, which are X's (media upload, best practices). Pure; the bytes are looked at by `media/`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from mesh.errors import InvalidArgument

MIB: Final = 1024 * 1024
CHUNK_BYTES: Final = MIB
"""Size of a stored piece, and of a segment sent to X, which takes no larger one without trouble."""
MAX_BYTES: Final = 512 * MIB
MAX_IMAGE_BYTES: Final = 5 * MIB
MAX_GIF_BYTES: Final = 15 * MIB
GIF_WIDTH: Final = 1280
GIF_HEIGHT: Final = 1080
GIF_FRAMES: Final = 350
SHORTEST_VIDEO: Final = timedelta(seconds=0.5)
LONGEST_VIDEO: Final = timedelta(seconds=140)


class MediaKind(StrEnum):
    """See the contract's MediaKind."""

    IMAGE = "IMAGE"
    GIF = "GIF"
    VIDEO = "VIDEO"


class MediaState(StrEnum):
    """See the contract's MediaState; UPLOADING is what nobody may see yet, since bytes are missing."""

    UPLOADING = "UPLOADING"
    PROCESSING = "PROCESSING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the bytes of a file say."""

    content_type: str
    kind: MediaKind
    width: int
    height: int
    duration: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Medium:
    """A stored file, without its bytes. `bot_id` is empty where any bot's posts may use it."""

    id: str
    content_type: str
    kind: MediaKind
    state: MediaState
    size_bytes: int
    sha256: str
    create_time: datetime
    expire_time: datetime
    bot_id: str = ""
    filename: str = ""
    width: int = 0
    height: int = 0
    duration: timedelta | None = None
    alt_text: str = ""
    failure_message: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What the policy checks ask of a medium."""

    kind: MediaKind
    state: MediaState
    has_alt_text: bool

    @property
    def ready(self) -> bool:
        """Whether a post may show it."""
        return self.state is MediaState.READY


class Source(Protocol):
    """The bytes of a file, wherever they are."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on; fewer at the end."""
        ...


def unsupported(message: str, field: str = "file") -> InvalidArgument:
    """The refusal of bytes that X would not take, naming the limit."""
    return InvalidArgument("MEDIA_UNSUPPORTED", message, field=field)


def check_size(kind: MediaKind, size: int, field: str = "file") -> None:
    """Raises InvalidArgument (MEDIA_UNSUPPORTED) for more bytes than X takes of this kind."""
    if kind is MediaKind.IMAGE and size > MAX_IMAGE_BYTES:
        raise unsupported("an image may have at most 5 MB (5,242,880 bytes)", field)
    if kind is MediaKind.GIF and size > MAX_GIF_BYTES:
        raise unsupported("a GIF may have at most 15 MB (15,728,640 bytes)", field)


def check_gif(width: int, height: int, frames: int) -> None:
    """Raises InvalidArgument (MEDIA_UNSUPPORTED) for a moving GIF beyond X's limits."""
    if width > GIF_WIDTH or height > GIF_HEIGHT:
        raise unsupported(
            f"a GIF may have at most {GIF_WIDTH} × {GIF_HEIGHT} pixels; this has {width} × {height}"
        )
    if frames > GIF_FRAMES:
        raise unsupported(f"a GIF may have at most {GIF_FRAMES} frames; this has more")


def check_duration(duration: timedelta) -> None:
    """Raises InvalidArgument (MEDIA_UNSUPPORTED) for a film that is too short or too long."""
    if not SHORTEST_VIDEO <= duration <= LONGEST_VIDEO:
        seconds = duration.total_seconds()
        raise unsupported(f"a video must last 0.5 to 140 seconds; this lasts {seconds:,.1f}")
