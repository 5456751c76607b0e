"""What a file is, by its bytes alone; and that no file, however spoiled, is more than a refusal."""

import random
import zlib
from contextlib import suppress
from datetime import timedelta

import pytest

from mesh.errors import InvalidArgument
from services.bot_manager.domain.media import Facts, MediaKind
from services.bot_manager.media.inspection import Inspector, check_early, content_type_of
from tests.fakes.media import box, film, gif, mvhd, noise, picture, track

K = MediaKind


class Bytes:
    """Bytes as a Source that counts how much of them is read."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.reads = 0

    async def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + length]


async def inspect(data: bytes) -> Facts:
    return await Inspector().inspect(Bytes(data))


async def refusal(data: bytes) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(InvalidArgument) as refused:
        await inspect(data)
    assert refused.value.reason == "MEDIA_UNSUPPORTED"
    assert refused.value.violations[0].field == "file"
    return refused.value.message


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (picture("PNG"), Facts("image/png", K.IMAGE, 8, 6)),
        (picture("JPEG", (640, 480)), Facts("image/jpeg", K.IMAGE, 640, 480)),
        (picture("WEBP"), Facts("image/webp", K.IMAGE, 8, 6)),
        (gif(2), Facts("image/gif", K.GIF, 8, 6)),
        (gif(1), Facts("image/gif", K.IMAGE, 8, 6)),
        (picture("GIF"), Facts("image/gif", K.IMAGE, 8, 6)),
        (film(2), Facts("video/mp4", K.VIDEO, 320, 180, timedelta(seconds=2))),
        (film(0.5, index_last=False), Facts("video/mp4", K.VIDEO, 320, 180, timedelta(seconds=0.5))),
        (film(140, brand=b"qt  "), Facts("video/quicktime", K.VIDEO, 320, 180, timedelta(seconds=140))),
    ],
    ids=[
        "png",
        "jpeg",
        "webp",
        "moving gif",
        "gif of one frame",
        "real gif",
        "mp4",
        "mp4, index first",
        "mov",
    ],
)
async def test_a_file_is_what_its_bytes_say(data: bytes, facts: Facts) -> None:
    """What a client claims does not count: X looks at the bytes too."""
    assert await inspect(data) == facts


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7 and more of it", "not of a type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not of a type"),
        (b"short", "not of a type"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "not of a type"),
        (picture("PNG", (2000, 2000))[:-20], "PNG is damaged"),
        (picture("JPEG", (640, 480))[:-600], "JPEG is damaged"),
        (picture("WEBP", (640, 480))[:-20], "WEBP is damaged"),
        (gif(3)[:-4], "GIF is damaged"),
        (gif(0), "no picture"),
        (gif(351), "350 frames"),
        (gif(2, width=1281), "1280 × 1080"),
        (gif(2, height=1081), "1280 × 1080"),
        (film(0.4), "0.5 to 140 seconds"),
        (film(140.1), "0.5 to 140 seconds"),
        (film(0), "how long"),
        (film(video=b"hvc1"), "H.264"),
        (film(audio=b"Opus"), "AAC"),
        (film(width=0), "how large"),
        (film()[:-100], "damaged"),
        (box(b"ftyp", b"isom", bytes(8)) + box(b"mdat", bytes(50)), "fragments"),
        (box(b"ftyp", b"isom", bytes(8)) + box(b"moov", mvhd(2)) + box(b"moof", bytes(9)), "fragments"),
        (
            box(b"ftyp", b"isom", bytes(8)) + box(b"moov", mvhd(2), track(b"soun", b"mp4a", 0, 0)),
            "video track",
        ),
    ],
)
async def test_what_x_does_not_take_is_refused_in_a_sentence(data: bytes, words: str) -> None:
    """Whoever uploads must read what to change."""
    assert words in await refusal(data)


async def test_a_file_with_two_natures_is_what_it_begins_as() -> None:
    """A picture that is a program as well is a picture: nothing here looks at what follows."""
    assert (
        await inspect(picture("PNG") + b"PK\x03\x04 <script>alert(1)</script>")
    ).content_type == "image/png"
    with pytest.raises(InvalidArgument):
        content_type_of(b"<script>" + picture("PNG"))


async def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header() -> None:
    """A few bytes can ask for gigabytes of pixels."""
    header = b"".join((60_000).to_bytes(4) for _ in range(2)) + b"\x08\x06\0\0\0"
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    bomb += (0).to_bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4)
    assert "pixels" in await refusal(bomb) or "damaged" in await refusal(bomb)


async def test_boxes_that_go_round_or_go_on_come_to_an_end() -> None:
    """A length of nothing, one beyond the file, one that is longer than its parent, thousands of empty ones: each is a refusal."""
    head = box(b"ftyp", b"isom", bytes(8))
    below = (7).to_bytes(4) + b"free"
    beyond = (1 << 30).to_bytes(4) + b"moov"
    huge = (1).to_bytes(4) + b"moov" + (1 << 62).to_bytes(8)
    inner = box(b"moov", (500).to_bytes(4) + b"trak" + bytes(8))
    for spoiled in (below, beyond, huge, inner):
        assert "damaged" in await refusal(head + spoiled + bytes(64))
    many = Bytes(head + box(b"free") * 5000)
    with pytest.raises(InvalidArgument):
        await Inspector().inspect(many)
    assert many.reads < 2500
    deep = b""
    for _ in range(300):
        deep = box(b"mdia", deep)
    assert "video track" in await refusal(head + box(b"moov", mvhd(2), box(b"trak", deep)))


async def test_a_long_film_is_read_by_its_headers_alone() -> None:
    """Half a gigabyte of frames before the index must not be read to find it."""
    whole = film(100, pad=1000)
    frames, index = whole.index(b"mdat") - 4, whole.index(b"moov") - 4
    size = 500_000_000

    class Sparse(Bytes):
        async def read(self, offset: int, length: int) -> bytes:
            self.reads += 1
            if offset >= size - (len(whole) - index):
                offset = offset - size + len(whole)
                return whole[offset : offset + length]
            start = (size - (len(whole) - index) - frames).to_bytes(4) + b"mdat"
            return (whole[:frames] + start + bytes(64))[offset : offset + length]

    source = Sparse(b"", size)
    assert (await Inspector().inspect(source)).duration == timedelta(seconds=100)
    assert source.reads < 60


@pytest.mark.parametrize("whole", [picture("PNG"), picture("JPEG"), picture("WEBP"), gif(3), film()])
async def test_spoiled_bytes_are_understood_or_refused_and_nothing_else(whole: bytes) -> None:
    """Whatever stands in a file: it is a file or a refusal, never another error."""
    chance = random.Random(4711)  # noqa: S311 - the same every time
    for _ in range(150):
        spoiled = bytearray(whole[: chance.randrange(20, len(whole) + 1)])
        for _ in range(chance.randrange(1, 6)):
            spoiled[chance.randrange(12, len(spoiled))] = chance.randrange(256)
        with suppress(InvalidArgument):
            assert (await inspect(bytes(spoiled))).width > 0


def test_the_first_bytes_are_enough_to_refuse() -> None:
    """Nobody shall send half a gigabyte to hear that it is of the wrong kind."""
    megabyte = 1024 * 1024
    check_early(picture("PNG")[:16], 5 * megabyte)
    check_early(gif(2)[:16], 15 * megabyte)
    check_early(film()[:16], 500 * megabyte)
    for head, size in [
        (picture("PNG")[:16], 5 * megabyte + 1),
        (gif(2)[:16], 15 * megabyte + 1),
        (noise(16), 1),
    ]:
        with pytest.raises(InvalidArgument):
            check_early(head, size)
