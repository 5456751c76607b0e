"""A QR code of a text, as a PNG image (ISO/IEC 18004)."""

import io
from typing import Final

import segno

PIXELS_A_MODULE: Final = 6


def qr_png(text: str) -> bytes:
    """The image, black on white, with level M of error correction and the quiet zone of four modules. Takes tens of milliseconds."""
    image = io.BytesIO()
    segno.make_qr(text, error="m").save(image, kind="png", scale=PIXELS_A_MODULE)
    return image.getvalue()
