"""Small pictures and films, whole or spoiled on purpose."""

import io

from PIL import Image


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), colour: str = "red") -> bytes:
    """A picture of one colour; `kind` is Pillow's name of its format."""
    made = io.BytesIO()
    Image.new("RGB", size, colour).save(made, kind)
    return made.getvalue()


def gif(frames: int = 2, width: int = 8, height: int = 6) -> bytes:
    """A GIF of `frames` pictures of a pixel each."""
    screen = (
        b"GIF89a"
        + width.to_bytes(2, "little")
        + height.to_bytes(2, "little")
        + b"\x80\0\0"
        + b"\0\0\0\xff\xff\xff"
    )
    control = b"\x21\xf9\x04\x00\x0a\x00\x00\x00"
    frame = b"\x2c\0\0\0\0\x01\0\x01\0\0" + b"\x02\x02\x4c\x01\0"
    return screen + (control + frame) * frames + b"\x3b"


def box(kind: bytes, *contents: bytes) -> bytes:
    """A box of a film."""
    content = b"".join(contents)
    return (8 + len(content)).to_bytes(4) + kind + content


def film(
    seconds: float = 2.0,
    *,
    width: int = 320,
    height: int = 180,
    video: bytes = b"avc1",
    audio: bytes = b"mp4a",
    brand: bytes = b"isom",
    pad: int = 1000,
    index_last: bool = True,
) -> bytes:
    """An MP4 that tells of itself; its `pad` bytes of frames are noise."""
    head = box(b"ftyp", brand, bytes(4), b"isom")
    index = box(b"moov", mvhd(seconds), track(b"vide", video, width, height), track(b"soun", audio, 0, 0))
    frames = box(b"mdat", noise(pad))
    return head + (frames + index if index_last else index + frames)


def mvhd(seconds: float) -> bytes:
    """A film's header."""
    return box(b"mvhd", bytes(12), (1000).to_bytes(4), round(seconds * 1000).to_bytes(4), bytes(80))


def track(handler: bytes, codec: bytes, width: int, height: int) -> bytes:
    """A track with what is read of it."""
    tkhd = box(b"tkhd", bytes(76), (width << 16).to_bytes(4), (height << 16).to_bytes(4))
    stsd = box(b"stsd", bytes(4), (1).to_bytes(4), box(codec, bytes(78)))
    hdlr = box(b"hdlr", bytes(8), handler, bytes(13))
    return box(b"trak", tkhd, box(b"mdia", hdlr, box(b"minf", box(b"stbl", stsd))))


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that look random and are the same every time."""
    block = bytes((seed * 131 + place * place * 7 + place) & 0xFF for place in range(4099))
    return (block * (size // len(block) + 1))[:size]
