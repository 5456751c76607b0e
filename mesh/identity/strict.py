"""JSON and base64url with one spelling: what two readers could understand in two ways is refused.

Python's own readers take padded base64url, duplicate member names, byte order marks, UTF-16, floats and NaN. A token or key set that
needs any of it was made by somebody who hopes that a proxy, a log or a block list reads it differently from us.
"""

import base64
import binascii
import json
from typing import Any


def decode_base64url(text: str) -> bytes:
    """The bytes, if `text` is exactly how they are spelt: no padding, no spare bits. Raises ValueError."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if encode_base64url(raw) != text:
        raise ValueError("base64url in another spelling")
    return raw


def encode_base64url(raw: bytes) -> str:
    """The one spelling (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def read_object(raw: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 without duplicate members and with whole numbers only. Raises ValueError."""
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the caller judges a text, not a type
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _refuse_number(text: str) -> Any:
    raise ValueError("not a whole number")
