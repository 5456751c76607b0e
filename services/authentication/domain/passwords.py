"""Passwords: what is accepted, and Argon2id hashes in PHC form (RFC 9106).

Any text of 8 to 256 characters is accepted, without rules about kinds of characters (NIST 800-63B), unless it is what a guesser tries
first: a common password, or the name of product or user with hardly anything around it.

A password is hashed as the UTF-8 bytes of exactly what was given: neither trimmed, nor cut, nor normalised. So "é" as one character and
as "e" with an accent are two passwords; NIST would have them made one, but then what was set with one normal form could not be
proved where another library or version makes another. The hash carries its own parameters, so a change of the settings keeps old
hashes good; `outdated` tells when to hash anew at the next sign-in. Hashing takes tens of milliseconds of one core and must run on
`HashingPool`, never on the event loop.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mesh.errors import FailedPrecondition, InvalidArgument
from mesh.secret import Secret
from services.authentication.domain.common_passwords import is_common

MIN_PASSWORD_CHARS: Final = 8
MAX_PASSWORD_CHARS: Final = 256
SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
PRODUCT_WORDS: Final = ("vivesphere", "bot manager", "vivesphere bot manager")
MAX_DECORATION: Final = 4
"""Digits and signs around a name that leave it as guessable as it is: a year, for example."""
ONE_TIME_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 characters that are not taken for one another."""
ONE_TIME_GROUPS: Final = 6
ONE_TIME_GROUP_CHARS: Final = 5
"""Six groups of five characters are 150 bits."""
# One letter for all that are written for one another, in names as well as in passwords.
_LEET: Final = str.maketrans("013457@$!i", "oleastasll")
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


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """The numbers and words in force."""

    context_words: tuple[str, ...] = ()
    """Besides the product's names: the company's, for example."""
    one_time_lifetime: timedelta = timedelta(hours=24)
    """How long a one-time password made by somebody else is good."""

    def check_new(self, password: Secret, field: str, *names: str) -> None:
        """Raises InvalidArgument or FailedPrecondition (PASSWORD_REFUSED) unless the password may be set for the user of these names."""
        check_length(password, field)
        why = guessable(password, (*self.context_words, *names))
        if why is not None:
            raise FailedPrecondition("PASSWORD_REFUSED", f"{field} {why}; choose another", field=field)


def check_length(password: Secret, field: str) -> None:
    """Raises InvalidArgument unless the password has as many characters as one may have."""
    if not MIN_PASSWORD_CHARS <= len(password.reveal()) <= MAX_PASSWORD_CHARS:
        raise InvalidArgument(
            "INVALID_FIELD",
            f"{field} must be {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters",
            field=field,
        )


def guessable(password: Secret, words: Iterable[str] = ()) -> str | None:
    """Why a guesser would soon find the password, as the end of a sentence; None if there is nothing against it."""
    if is_common(password.reveal()):
        return "is one of the passwords that are tried first"
    folded = password.reveal().casefold()
    for word in (*PRODUCT_WORDS, *words):
        for spelling in {word, "".join(char for char in word if char.isalnum())}:
            if _is_decorated(folded, spelling.casefold().translate(_LEET)):
                return "is little more than the name of the product, the company or the user"
    return None


def _is_decorated(folded: str, word: str) -> bool:
    """Whether the text is the word, in any spelling, with nothing but a few digits and signs around it."""
    spare = len(folded) - len(word)
    if not word or not 0 <= spare <= MAX_DECORATION:
        return False
    plain = folded.translate(_LEET)
    for start in range(spare + 1):
        around = folded[:start] + folded[start + len(word) :]
        if plain.startswith(word, start) and not any(char.isalpha() for char in around):
            return True
    return False


def one_time_password(choose: Callable[[str], str] = secrets.choice) -> Secret:
    """A password that nobody can guess and a person can read out."""
    groups = (
        "".join(choose(ONE_TIME_ALPHABET) for _ in range(ONE_TIME_GROUP_CHARS))
        for _ in range(ONE_TIME_GROUPS)
    )
    return Secret("-".join(groups))


def check_changed(new: Secret, current: Secret) -> None:
    """Raises FailedPrecondition if the new password is the one it replaces."""
    if new == current:
        raise FailedPrecondition(
            "PASSWORD_REFUSED", "the new password equals the old one", field="new_password"
        )


def _bytes(password: Secret) -> bytes:
    return password.reveal().encode("utf-8", "surrogatepass")
