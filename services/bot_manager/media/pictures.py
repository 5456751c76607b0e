"""JPEG, PNG and WebP by Pillow, with no more of it than these three readers, and without decoding a pixel.

Whether the file is whole is found out as its format allows: a PNG by the checksums of its chunks, a JPEG by its end marker after its last
scan, a WebP by the length that it states. What is wrong within the pixels X will say. Pictures of more pixels than `MAX_PIXELS` are
refused by their header.
"""

import io
import warnings
from typing import Final

from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from mesh.errors import MeshError
from services.bot_manager.domain.media import unsupported

FORMATS: Final = {
    "image/jpeg": JpegImagePlugin.JpegImageFile.format,
    "image/png": PngImagePlugin.PngImageFile.format,
    "image/webp": WebPImagePlugin.WebPImageFile.format,
}
MAX_PIXELS: Final = 64_000_000
"""8,000 × 8,000: beyond what cameras make, and little enough to look at."""
MAX_SIDE: Final = 16_384
JPEG_SCAN: Final = b"\xff\xda"
JPEG_END: Final = b"\xff\xd9"


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
    except MeshError:
        raise
    except Exception:  # hostile bytes make Pillow raise whatever its parsers stumble over
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
            # Within a scan 0xFF is always followed by 0x00, so these are markers (ITU T.81, B.1.1.5).
            if not data.rfind(JPEG_END) > data.rfind(JPEG_SCAN) > 0:
                raise ValueError("has no end")
        case _:
            if int.from_bytes(data[4:8], "little") + 8 > len(data):
                raise ValueError("shorter than it states")
