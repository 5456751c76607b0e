"""Passwords: what is accepted, and Argon2id hashes in PHC form (RFC 9106).

A password is hashed as the UTF-8 bytes of exactly what was given: neither trimmed, nor cut, nor normalised (NIST 800-63B). The hash
carries its own parameters, so a change of the settings keeps old hashes good; `outdated` tells when to hash anew at the next sign-in.
These functions take tens of milliseconds of one core and must run on `HashingPool`, never on the event loop.
"""

import os
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mesh.errors import FailedPrecondition, InvalidArgument
from mesh.secret import Secret

MIN_PASSWORD_CHARS: Final = 8
MAX_PASSWORD_CHARS: Final = 256
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
_PHC = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class HashParameters:
    """Cost of one hash. The defaults are OWASP's for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane."""

    iterations: int = 2
    memory_kib: int = 19_456
    lanes: int = 1


def hash_password(password: Secret, cost: HashParameters) -> str:
    """A new hash with a new salt, in PHC form."""
    return Argon2id(
        salt=os.urandom(SALT_BYTES),
        length=HASH_BYTES,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    ).derive_phc_encoded(_bytes(password))


def verify_password(password: Secret, phc: str) -> bool:
    """Whether `phc` was made from `password`. A hash that cannot be read was made from nothing."""
    try:
        Argon2id.verify_phc_encoded(_bytes(password), phc)
    except (InvalidKey, ValueError):
        return False
    return True


def outdated(phc: str, cost: HashParameters) -> bool:
    """Whether the hash was made at another cost than the one in force."""
    match = _PHC.fullmatch(phc)
    if match is None:
        return True
    memory, iterations, lanes = (int(part) for part in match.groups())
    return HashParameters(iterations, memory, lanes) != cost


def check_new_password(password: Secret, field: str) -> None:
    """Raises InvalidArgument unless the password may be set."""
    if not MIN_PASSWORD_CHARS <= len(password.reveal()) <= MAX_PASSWORD_CHARS:
        raise InvalidArgument(
            "INVALID_FIELD",
            f"{field} must be {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters",
            field=field,
        )


def check_changed(new: Secret, current: Secret) -> None:
    """Raises FailedPrecondition if the new password is the one it replaces."""
    if new == current:
        raise FailedPrecondition(
            "PASSWORD_REFUSED", "the new password equals the old one", field="new_password"
        )


def _bytes(password: Secret) -> bytes:
    return password.reveal().encode("utf-8", "surrogatepass")
