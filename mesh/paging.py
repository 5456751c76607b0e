"""Page tokens for lists (AIP-158): where the next page begins, in a form the caller cannot make up or move to another list.

A token is base64url(MAC | JSON position). The position is a small tuple of keyset values of the last row given out. The MAC
(HMAC-SHA256, cut to 128 bits) covers the list's name, the digest of its filter and the position, so a token of another list, filter
or deployment is refused. Every replica derives the same key from the same secret bytes; nothing is stored. Tokens are signed,
not encrypted: a position must hold nothing the caller may not see. They do not expire.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final, NoReturn, TypeAlias

from mesh.errors import InvalidArgument

Scalar: TypeAlias = str | int | bool | None

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
MIN_SECRET_BYTES: Final = 16
MAC_BYTES: Final = 16
MAX_TOKEN_CHARS: Final = 2048
_PURPOSE: Final = b"vivesphere page token v1\x00"


class PageTokens:
    """Writes and reads the tokens of one list. `name` is the list's own, such as `bot_manager.posts`; `secret` ≥ 16 random bytes."""

    def __init__(self, secret: bytes, name: str) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"page tokens need a secret of at least {MIN_SECRET_BYTES} bytes")
        self._key = hmac.digest(secret, _PURPOSE + name.encode(), "sha256")

    def encode(self, position: tuple[Scalar, ...], filters: Mapping[str, object]) -> str:
        """A token for the page after `position`. `filters`: everything JSON-able that shapes the list besides the page size."""
        if not all(value is None or isinstance(value, str | int) for value in position):
            raise TypeError("a position holds text, integers, booleans and None only")
        payload = _json(position)
        token = base64.urlsafe_b64encode(self._mac(payload, filters) + payload).rstrip(b"=").decode()
        if len(token) > MAX_TOKEN_CHARS:
            raise ValueError(f"position too large for a page token of {MAX_TOKEN_CHARS} characters")
        return token

    def decode(self, token: str, filters: Mapping[str, object]) -> tuple[Scalar, ...] | None:
        """The position to continue after, None for the empty token (first page). Raises InvalidArgument INVALID_PAGE_TOKEN."""
        if not token:
            return None
        raw = _bytes(token)
        mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload, filters)):
            _refuse()
        # Authentic, so it is our own JSON of a tuple.
        return tuple(json.loads(payload))

    def _mac(self, payload: bytes, filters: Mapping[str, object]) -> bytes:
        digest = hashlib.sha256(_json(filters)).digest()
        return hmac.digest(self._key, digest + payload, "sha256")[:MAC_BYTES]


def page_size(requested: int, *, default: int = DEFAULT_PAGE_SIZE, maximum: int = MAX_PAGE_SIZE) -> int:
    """Rows to give for `page_size` of a request: 0 means the default, more than the maximum the maximum, below 0 is an error."""
    if requested < 0:
        raise InvalidArgument("INVALID_FIELD", "page_size must not be negative", field="page_size")
    return min(requested or default, maximum)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _bytes(token: str) -> bytes:
    """The one byte string whose canonical, unpadded form is `token`."""
    if len(token) > MAX_TOKEN_CHARS:
        _refuse()
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    # Spare bits and padding allow several spellings of the same bytes; only ours counts.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != token:
        _refuse()
    return raw


def _refuse() -> NoReturn:
    raise InvalidArgument(
        "INVALID_PAGE_TOKEN",
        "page_token was not given out for this list and filter; start again without it",
        field="page_token",
    )
