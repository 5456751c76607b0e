"""The QR code of a new secret."""

import struct

from services.authentication.domain.totp import key_uri
from services.authentication.qr import qr_png


def test_the_image_is_a_png_also_for_the_longest_name() -> None:
    """64 characters outside of ASCII are percent-encoded to three times their four bytes."""
    for name in ("ann", "\U0001d4d0" * 64):
        image = qr_png(key_uri(bytes(20), name))
        assert image.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", image[16:24])
        assert width == height
        assert width % 6 == 0
