"""The form of an API key: `vsk_`, 256 random bits, and a checksum that everybody can verify without asking anybody.

    vsk_ | 43 characters: 256 bits | 6 characters: CRC-32 of everything before
           base 62, 0-9A-Za-z, most significant first, filled with "0" from the left

The checksum guards nothing. It lets a scanner tell a leaked key from random text, and a service refuse a mistyped one without a
look-up. The key itself is kept nowhere; its SHA-256 is enough to recognise a value that cannot be guessed.
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import Final

PREFIX: Final = "vsk_"
RANDOM_BITS: Final = 256
RANDOM_CHARS: Final = 43
CHECKSUM_CHARS: Final = 6

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_CHARS + CHECKSUM_CHARS}}}", re.ASCII)


def new_api_key() -> str:
    """A key that nobody can guess, 53 characters."""
    text = PREFIX + _base62(secrets.randbits(RANDOM_BITS), RANDOM_CHARS)
    return text + _checksum(text)


def is_well_formed(text: str) -> bool:
    """Whether `text` could be an API key, by its form and checksum alone."""
    return _FORM.fullmatch(text) is not None and text.endswith(_checksum(text[:-CHECKSUM_CHARS]))


def api_key_hash(text: str) -> bytes:
    """The form in which a key is stored, looked up and remembered, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode("ascii")), CHECKSUM_CHARS)


def _base62(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits.rjust(width, _ALPHABET[0])
