"""Known devices: proof that a user has signed in from a device before.

A device token is `vsd_` and base64url of a random device id and its MAC (HMAC-SHA-256 over user id and device id), so nothing is stored
and no replica asks another. It opens nothing: an attempt that brings one is counted apart from those of strangers
(`domain.throttle`), and the password is asked for all the same. It holds for one user, on whichever machine it lies, for good; a
new secret makes every device unknown once.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Callable
from typing import Final

from mesh.secret import Secret

DEVICE_PREFIX: Final = "vsd_"
DEVICE_BYTES: Final = 16
MAC_BYTES: Final = 32
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""Stands for a user that there is none of, so that an unknown name costs what a known one does."""
_PURPOSE: Final = b"vivesphere device token v1"


class DeviceTokens:
    """Writes and reads device tokens."""

    def __init__(
        self, secret: Callable[[], bytes], random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        """`secret` gives 32 bytes that every replica shares; it may raise Unavailable."""
        self._secret = secret
        self._random_bytes = random_bytes

    def known(self, token: Secret | None, user_id: str | None) -> bytes | None:
        """Id of the device if the token is this user's. Anything else is an unknown device, whatever is wrong with it."""
        raw = _decode("" if token is None else token.reveal())
        device, mac = raw[:DEVICE_BYTES], raw[DEVICE_BYTES:]
        holds = hmac.compare_digest(mac, self._mac(device, user_id or NOBODY))
        return device if holds and user_id is not None else None

    def token(self, user_id: str, device: bytes | None) -> str:
        """The token of a known device, always the same, or of a new one."""
        device = self._random_bytes(DEVICE_BYTES) if device is None else device
        return DEVICE_PREFIX + _base64url(device + self._mac(device, user_id))

    def _mac(self, device: bytes, user_id: str) -> bytes:
        key = hmac.digest(self._secret(), _PURPOSE, "sha256")
        return hmac.digest(key, user_id.encode("ascii") + device, "sha256")


def _decode(token: str) -> bytes:
    """Device id and MAC of a token in its one spelling; nothing of any other text."""
    text = token.removeprefix(DEVICE_PREFIX)
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return b""
    whole = len(raw) == DEVICE_BYTES + MAC_BYTES and token == DEVICE_PREFIX + _base64url(raw)
    return raw if whole else b""


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")
