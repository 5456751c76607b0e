"""API keys as text: `vsk_`, 256 random bits as 43 base62 characters, and 6 base62 characters of CRC-32 over everything before.

The prefix lets secret scanners find a key that leaked, the checksum lets anybody drop what is none without asking the database. The
checksum protects nothing; the random bits do. Only the SHA-256 of a key is kept, which is enough for a value that nobody can guess.
"""

import hashlib
import re
import secrets
import zlib
from typing import Final

PREFIX: Final = "vsk_"
KEY_BYTES: Final = 32
KEY_CHARS: Final = 43
CHECKSUM_CHARS: Final = 6
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{KEY_CHARS + CHECKSUM_CHARS}}}", re.ASCII)


def new_api_key() -> str:
    """A key that nobody can guess, 53 characters."""
    body = PREFIX + _base62(int.from_bytes(secrets.token_bytes(KEY_BYTES)), KEY_CHARS)
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether `text` may be a key: its form and checksum are right. Says nothing of whether there is such a key."""
    return _FORM.fullmatch(text) is not None and _checksum(text[:-CHECKSUM_CHARS]) == text[-CHECKSUM_CHARS:]


def api_key_hash(text: str) -> bytes:
    """The form in which a key is stored and looked up, 32 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), CHECKSUM_CHARS)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
