"""JPEG, PNG and WebP by Pillow, with no more of it than these three readers, and without decoding a picture in full.

Whether the file is whole is found out as cheaply as its format allows: a PNG by the checksums of its chunks, a JPEG by decoding it at an
eighth of its size, a WebP by the length that it states. Pictures of more pixels than `MAX_PIXELS` are refused by their header.
"""

import io
import warnings
from typing import Final

from PIL import Image, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError, WebPImagePlugin

from services.bot_manager.domain.media import unsupported

FORMATS: Final = {
    "image/jpeg": JpegImagePlugin.JpegImageFile.format,
    "image/png": PngImagePlugin.PngImageFile.format,
    "image/webp": WebPImagePlugin.WebPImageFile.format,
}
MAX_PIXELS: Final = 64_000_000
"""8,000 × 8,000: beyond what cameras make, and little enough to look at."""
MAX_SIDE: Final = 16_384


def read_picture(data: bytes, content_type: str) -> tuple[int, int]:
    """Width and height in pixels. Raises InvalidArgument (MEDIA_UNSUPPORTED) for what is no whole picture of the type.

    Takes a moment; not for the event loop.
    """
    name = content_type.removeprefix("image/").upper()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=[FORMATS[content_type]]) as picture:
                width, height = picture.size
                _check_dimensions(width, height)
                _check_whole(picture, data, content_type)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError):
        raise unsupported(f"the {name} is damaged or incomplete") from None
    return width, height


def _check_dimensions(width: int, height: int) -> None:
    if not (width and height):
        raise unsupported("the picture has no pixels")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise unsupported(
            f"the picture has {width} × {height} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS:,} in all are taken"
        )


def _check_whole(picture: Image.Image, data: bytes, content_type: str) -> None:
    """Raises what Pillow raises, or ValueError."""
    match content_type:
        case "image/png":
            picture.verify()
        case "image/jpeg":
            picture.draft("L", (picture.width // 8, picture.height // 8))
            picture.load()
        case _:
            if int.from_bytes(data[4:8], "little") + 8 > len(data):
                raise ValueError("shorter than it states")
