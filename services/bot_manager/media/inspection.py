"""What a file is, by its bytes alone: type, size of the picture, length of the film; and whether X takes it.

The first bytes tell the kind, so that a wrong type or a picture that is too large is refused while it is still being sent. The whole is
examined once it is there: pictures in memory (they are small) and in a thread, films by a few short reads.
"""

import asyncio
from typing import Final

from services.bot_manager.domain.media import Facts, MediaKind, Source, check_gif, check_size, unsupported
from services.bot_manager.media.gif import read_gif
from services.bot_manager.media.pictures import read_picture
from services.bot_manager.media.video import read_video

HEAD_BYTES: Final = 16
"""What `kind_of` needs."""
MAX_AT_ONCE: Final = 2
"""Examinations of pictures that run at a time; each holds its file in memory."""
QUICKTIME_BEGINNINGS: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip"})
"""Types of the first box of a film from before there was `ftyp`."""
STILLS: Final = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"})
"""Brands of files that are built like films and hold pictures (HEIF, AVIF); X does not take them."""


def content_type_of(head: bytes) -> str:
    """The type by the first bytes. Raises InvalidArgument (MEDIA_UNSUPPORTED) for what X does not take."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if head[4:8] == b"ftyp" and head[8:12] not in STILLS:
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head[4:8] in QUICKTIME_BEGINNINGS:
        return "video/quicktime"
    raise unsupported("the file is not of a type that X takes: JPEG, PNG, WebP, GIF, MP4 or MOV")


def check_early(head: bytes, size: int) -> None:
    """Refuses by the first bytes what has `size` bytes by now, or is going to. Raises InvalidArgument (MEDIA_UNSUPPORTED)."""
    content_type = content_type_of(head)
    if content_type == "image/gif":
        check_size(MediaKind.GIF, size)
    elif content_type.startswith("image/"):
        check_size(MediaKind.IMAGE, size)


class Inspector:
    """Examines whole files."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def inspect(self, source: Source) -> Facts:
        """Raises InvalidArgument (MEDIA_UNSUPPORTED), and what reading the source raises."""
        content_type = content_type_of(await source.read(0, HEAD_BYTES))
        if content_type.startswith("video/"):
            return await _video(source)
        async with self._turns:
            data = await source.read(0, source.size)
            return await asyncio.to_thread(inspect_picture, data, content_type)


def inspect_picture(data: bytes, content_type: str) -> Facts:
    """Facts of a whole picture or GIF. Raises InvalidArgument (MEDIA_UNSUPPORTED)."""
    if content_type != "image/gif":
        check_size(MediaKind.IMAGE, len(data))
        return Facts(content_type, MediaKind.IMAGE, *read_picture(data, content_type))
    check_size(MediaKind.GIF, len(data))
    gif = read_gif(data)
    if gif.frames == 1:
        check_size(MediaKind.IMAGE, len(data))
        return Facts(content_type, MediaKind.IMAGE, gif.width, gif.height)
    check_gif(gif.width, gif.height, gif.frames)
    return Facts(content_type, MediaKind.GIF, gif.width, gif.height)


async def _video(source: Source) -> Facts:
    steps = read_video(source.size)
    try:
        span = next(steps)
        while True:
            span = steps.send(await source.read(*span))
    except StopIteration as done:
        facts: Facts = done.value
        return facts
