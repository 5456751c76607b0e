"""Time-based one-time passwords (RFC 6238): SHA-1, six digits, steps of 30 seconds, secrets of 160 bits.

These are the parameters that every authenticator app reads. The step of now and the one before are accepted, for a code that was
typed slowly; the one after is not, since servers and phones both know the time. Which codes were used before is the store's business:
`matching_step` tells the step, so that none is good twice.
"""

import base64
import hmac
from datetime import datetime
from typing import Final
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

ISSUER: Final = "ViveSphere"
SECRET_BYTES: Final = 20
"""As long as the output of the hash (RFC 4226 section 4, R6)."""
DIGITS: Final = 6
STEP_SECONDS: Final = 30
STEPS_BACK: Final = 1


def step_at(now: datetime) -> int:
    """The number of the time step, from the Unix epoch."""
    return int(now.timestamp()) // STEP_SECONDS


def code(secret: bytes, step: int) -> str:
    """The six digits of a step."""
    return HOTP(secret, DIGITS, SHA1()).generate(step).decode("ascii")  # noqa: S303 - HMAC-SHA-1 is what RFC 6238 and apps use


def matching_step(secret: bytes, given: str, now: datetime) -> int | None:
    """The newest accepted step whose code is `given`; None if there is none. Takes the same time whichever digits are wrong."""
    newest, found = step_at(now), None
    for step in range(newest - STEPS_BACK, newest + 1):
        if hmac.compare_digest(code(secret, step).encode(), given.encode("utf-8", "surrogatepass")):
            found = step
    return found


def looks_like_code(text: str) -> bool:
    """Whether it has the form of a code: six ASCII digits."""
    return len(text) == DIGITS and text.isascii() and text.isdigit()


def base32(secret: bytes) -> str:
    """The secret for typing in, without padding (160 bits need none)."""
    return base64.b32encode(secret).rstrip(b"=").decode("ascii")


def key_uri(secret: bytes, username: str) -> str:
    """What authenticator apps read out of a QR code (Key Uri Format of Google Authenticator)."""
    label = f"{ISSUER}:{quote(username, safe='')}"
    return (
        f"otpauth://totp/{label}?secret={base32(secret)}&issuer={ISSUER}"
        f"&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"
    )
