"""Recovery codes: each stands in for one TOTP when the device is lost.

A code is 120 random bits, so a plain hash of it is as good as a slow one; the user's id goes into the hash, so that equal codes of two
users would not look alike. People read them from paper: the alphabet has no look-alikes, and case and dashes do not matter.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from mesh.secret import Secret

ALPHABET: Final = "23456789abcdefghijkmnpqrstuvwxyz"
"""32 characters: 0, 1, l and o are left out."""
CODES: Final = 10
CODE_BYTES: Final = 15
GROUP_CHARS: Final = 4
_BITS: Final = 5
_PURPOSE: Final = b"vivesphere recovery code v1\x00"


def new_recovery_codes(random_bytes: Callable[[int], bytes]) -> tuple[Secret, ...]:
    """Ten codes such as `7kqm-x2vd-9f3h-tn8c-e5wp-rj4b`."""
    return tuple(Secret(_spelled(random_bytes(CODE_BYTES))) for _ in range(CODES))


def recovery_code_hash(user_id: str, code: Secret) -> bytes:
    """The form in which a code is stored and looked up, 32 bytes. Total: whatever was typed has one."""
    normal = code.reveal().replace("-", "").lower()
    return hashlib.sha256(
        _PURPOSE + user_id.encode() + b"\x00" + normal.encode("utf-8", "surrogatepass")
    ).digest()


def _spelled(random: bytes) -> str:
    number = int.from_bytes(random)
    count = len(random) * 8 // _BITS
    digits = "".join(
        ALPHABET[number >> _BITS * place & len(ALPHABET) - 1] for place in reversed(range(count))
    )
    return "-".join(digits[start : start + GROUP_CHARS] for start in range(0, count, GROUP_CHARS))
