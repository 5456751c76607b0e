"""User names: one spelling for all that look alike to Unicode.

NFKC, then case folding, then NFKC again, since folding can undo the normal form (Unicode 5.18, "identifier caseless matching").
Does not judge which characters are allowed: the contract's pattern does, and `normalise_new` once more after normalising, because
NFKC turns one character into several.
"""

import re
import unicodedata
from typing import Final

from mesh.errors import InvalidArgument

MAX_NAME_CHARS: Final = 64
_MARKS: Final = ("Mn", "Mc", "Me")
_PUNCTUATION: Final = frozenset("._+@-")
_WHITE_SPACE: Final = re.compile(r"\s")


def normalise(name: str) -> str:
    """The form in which a name is stored and looked up. Total: any text has one."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return folded[: 4 * MAX_NAME_CHARS]


def normalise_new(name: str) -> str:
    """As `normalise`, for a name that is to be given. Raises InvalidArgument if the result is not a name."""
    normal = normalise(name)
    if not 1 <= len(normal) <= MAX_NAME_CHARS or not _is_name(normal):
        raise InvalidArgument(
            "INVALID_FIELD",
            f"username must be 1 to {MAX_NAME_CHARS} letters, digits and . _ - + @, also after normalising",
            field="username",
        )
    return normal


def _is_name(text: str) -> bool:
    first, rest = text[0], text[1:]
    return _is_letter_or_number(first) and all(
        _is_letter_or_number(char) or unicodedata.category(char) in _MARKS or char in _PUNCTUATION
        for char in rest
    )


def _is_letter_or_number(char: str) -> bool:
    return unicodedata.category(char)[0] in "LN" and not _WHITE_SPACE.match(char)
