"""MP4 and MOV by their boxes (ISO/IEC 14496-12): length, picture size and codecs, without decoding a frame.

Only headers are read, a few hundred bytes each, by offset; where `moov` lies does not matter. Written as generators that ask for a
span and are given its bytes, so the same code reads from memory and from a database. Each box must lie within the one around it and
have at least the size of its header, and only so many are looked at: no file makes the walk go round or go on.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

from services.bot_manager.domain.media import Facts, MediaKind, check_duration, unsupported

Span = tuple[int, int]
"""Offset and length of the bytes that are asked for."""
T = TypeVar("T")
Steps = Generator[Span, bytes, T]

HEADER_BYTES: Final = 16
MAX_BOXES: Final = 2000
MAX_TRACKS: Final = 16
MAX_SIDE: Final = 16_384
VIDEO_CODECS: Final = frozenset({b"avc1", b"avc3"})
AUDIO_CODECS: Final = frozenset({b"mp4a"})
QUICKTIME: Final = b"qt  "
PATH: Final = (b"mdia", b"minf", b"stbl")
"""From a track down to its sample descriptions."""
MAX_SECONDS: Final = 1e9
"""Longer is not told apart."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its type, where its content begins and where it ends."""

    type: bytes
    start: int
    end: int


@dataclass(slots=True)
class _Track:
    """What a `trak` tells."""

    handler: bytes = b""
    codec: bytes = b""
    width: int = 0
    height: int = 0


@dataclass(slots=True)
class _Movie:
    """What the walk gathers. `left` is how many more boxes are looked at."""

    left: int = MAX_BOXES
    brand: bytes = b""
    duration: timedelta | None = None
    tracks: list[_Track] = field(default_factory=list)


def read_video(size: int) -> Steps[Facts]:
    """Facts of a file of `size` bytes. Raises InvalidArgument (MEDIA_UNSUPPORTED), also from within the steps."""
    movie = _Movie()
    has_index = in_fragments = False
    boxes = _Boxes(movie, 0, size)
    while (box := (yield from boxes.following())) is not None:
        if box.type == b"ftyp":
            movie.brand = (yield from _exactly(box, 0, 4))[:4]
        elif box.type == b"moov" and not has_index:
            has_index = True
            yield from _moov(movie, box)
        elif box.type == b"moof":
            in_fragments = True
            break
    if in_fragments or not has_index:
        raise unsupported(
            "the video is cut into fragments, or incomplete: it has no index (moov) of the whole film"
        )
    return _facts(movie)


def _facts(movie: _Movie) -> Facts:
    video = [track for track in movie.tracks if track.handler == b"vide"]
    audio = [track for track in movie.tracks if track.handler == b"soun"]
    if not video:
        raise unsupported("the file has no video track")
    if any(track.codec not in VIDEO_CODECS for track in video):
        raise unsupported(f"the video must be H.264; this is {_named(video, VIDEO_CODECS)}")
    if any(track.codec not in AUDIO_CODECS for track in audio):
        raise unsupported(f"the sound must be AAC; this is {_named(audio, AUDIO_CODECS)}")
    width, height = video[0].width, video[0].height
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise unsupported("the video does not say how large its picture is")
    if movie.duration is None:
        raise unsupported("the video does not say how long it lasts")
    check_duration(movie.duration)
    content_type = "video/quicktime" if movie.brand in (QUICKTIME, b"") else "video/mp4"
    return Facts(content_type, MediaKind.VIDEO, width, height, movie.duration)


class _Boxes:
    """The boxes of a region, one after the other."""

    def __init__(self, movie: _Movie, start: int, end: int) -> None:
        self._movie = movie
        self._at = start
        self._end = end

    def following(self) -> Steps[Box | None]:
        """The next box; None at the end. Raises for one that does not fit."""
        left = self._end - self._at
        if left < 8:
            return None
        self._movie.left -= 1
        if self._movie.left < 0:
            raise unsupported("the video has more parts than any real one")
        head = yield self._at, min(HEADER_BYTES, left)
        size, header = int.from_bytes(head[:4]), 8
        if size == 1:
            size, header = int.from_bytes(head[8:16]), 16
        elif size == 0:
            size = left
        if size < header or size > left or len(head) < header:
            raise _broken()
        box = Box(head[4:8], self._at + header, self._at + size)
        self._at += size
        return box


def _moov(movie: _Movie, moov: Box) -> Steps[None]:
    boxes = _Boxes(movie, moov.start, moov.end)
    while (box := (yield from boxes.following())) is not None:
        if box.type == b"mvhd":
            movie.duration = yield from _duration(box)
        elif box.type == b"trak":
            if len(movie.tracks) >= MAX_TRACKS:
                raise unsupported(f"the video has more than {MAX_TRACKS} tracks")
            movie.tracks.append(_Track())
            yield from _trak(movie, box)


def _trak(movie: _Movie, region: Box, depth: int = 0) -> Steps[None]:
    """What a track says of itself: in itself (tkhd), one level down (hdlr) and three levels down (stsd)."""
    track = movie.tracks[-1]
    boxes = _Boxes(movie, region.start, region.end)
    while (box := (yield from boxes.following())) is not None:
        match depth, box.type:
            case 0, b"tkhd":
                track.width, track.height = yield from _dimensions(box)
            case 1, b"hdlr":
                track.handler = yield from _exactly(box, 8, 4)
            case 3, b"stsd":
                track.codec = yield from _exactly(box, 12, 4)
            case _ if depth < len(PATH) and box.type == PATH[depth]:
                yield from _trak(movie, box, depth + 1)


def _duration(mvhd: Box) -> Steps[timedelta | None]:
    version = (yield from _exactly(mvhd, 0, 1))[0]
    place, wide = (20, 8) if version == 1 else (12, 4)
    raw = yield from _exactly(mvhd, place, 4 + wide)
    scale, length = int.from_bytes(raw[:4]), int.from_bytes(raw[4:])
    unknown = (1 << (8 * wide)) - 1
    if scale == 0 or length in (0, unknown):
        return None
    return timedelta(seconds=min(length / scale, MAX_SECONDS))


def _dimensions(tkhd: Box) -> Steps[tuple[int, int]]:
    """Width and height in whole pixels; fixed-point 16.16 at the end of the box."""
    version = (yield from _exactly(tkhd, 0, 1))[0]
    raw = yield from _exactly(tkhd, 88 if version == 1 else 76, 8)
    return int.from_bytes(raw[:4]) >> 16, int.from_bytes(raw[4:]) >> 16


def _exactly(box: Box, offset: int, length: int) -> Steps[bytes]:
    """Bytes from within a box. Raises where it is too short for them."""
    if box.start + offset + length > box.end:
        raise _broken()
    data = yield box.start + offset, length
    if len(data) < length:
        raise _broken()
    return data


def _named(tracks: list[_Track], known: frozenset[bytes]) -> str:
    codecs: Iterator[bytes] = (track.codec for track in tracks if track.codec not in known)
    return ascii(next(codecs).decode("latin-1").strip())


def _broken() -> Exception:
    return unsupported("the video is damaged or incomplete")
