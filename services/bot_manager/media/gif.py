"""GIF by its blocks (GIF89a, appendix A): size of the screen and number of frames, without decoding a pixel.

Every step moves forward in bytes that are there, so a hostile file costs no more than its length.
"""

from dataclasses import dataclass
from typing import Final

from services.bot_manager.domain.media import GIF_FRAMES, unsupported

HEADER_BYTES: Final = 13
EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
IMAGE_DESCRIPTOR_BYTES: Final = 9
CODE_SIZE_BYTES: Final = 1
MAX_SUB_BLOCKS: Final = 1_000_000
"""Four times what 15 MB of full ones make."""


@dataclass(frozen=True, slots=True)
class Gif:
    """Screen in pixels. `frames` stops counting once it is beyond what X takes."""

    width: int
    height: int
    frames: int


def read_gif(data: bytes) -> Gif:
    """Raises InvalidArgument (MEDIA_UNSUPPORTED) for what is no whole GIF."""
    if len(data) < HEADER_BYTES:
        raise _broken()
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    frames = _Walk(data).frames()
    if not (width and height and frames):
        raise unsupported("the GIF has no picture in it")
    return Gif(width, height, frames)


class _Walk:
    """One walk over the blocks."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = HEADER_BYTES + _table_bytes(data[10])
        self._left = MAX_SUB_BLOCKS

    def frames(self) -> int:
        """How many pictures there are until the trailer."""
        count = 0
        while (block := self._byte()) != TRAILER:
            if block == IMAGE:
                count += 1
                if count > GIF_FRAMES:
                    return count
                self._at += IMAGE_DESCRIPTOR_BYTES - 1
                table = _table_bytes(self._byte())
                self._at += table + CODE_SIZE_BYTES
            elif block == EXTENSION:
                self._at += 1
            else:
                raise _broken()
            self._skip_sub_blocks()
        return count

    def _skip_sub_blocks(self) -> None:
        while length := self._byte():
            self._left -= 1
            if self._left < 0:
                raise _broken()
            self._at += length

    def _byte(self) -> int:
        if self._at >= len(self._data):
            raise _broken()
        self._at += 1
        return self._data[self._at - 1]


def _table_bytes(packed: int) -> int:
    """Size of the colour table that a descriptor announces."""
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _broken() -> Exception:
    return unsupported("the GIF is damaged or incomplete")
