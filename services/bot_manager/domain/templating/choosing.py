"""Alternatives, version 1: the same seed, part and place of the call give the same alternative for ever.

    digest = SHA-256 of "vivesphere choose 1|<seed>|<part>|<call>" in ASCII, numbers in decimal
    index  = (first 8 bytes of digest, big-endian) × (number of alternatives) ÷ 2⁶⁴, rounded down

`part` counts the parts of a thread from 0; `call` counts the calls of `choose` from 0 in the order in which a part's template makes
them. A change of this would change posts that were previewed and wait: it would have to be a version 2, chosen per post.
"""

from collections.abc import Callable
from hashlib import sha256
from itertools import count
from typing import Final

from services.bot_manager.domain.templating.values import TemplateError, Value

_WORD: Final = "vivesphere choose 1"
SEED_LIMIT: Final = 2**31
"""Seeds are below this: the contract has them in 31 bits."""


def chooser(seed: int, part: int) -> Callable[..., Value]:
    """The function `choose` for one rendering of one part."""
    calls = count()

    def choose(*alternatives: Value) -> Value:
        given = alternatives
        if len(given) == 1 and isinstance(given[0], tuple):
            given = given[0]
        if not given:
            raise TemplateError("choose needs at least one alternative")
        return given[_number(f"{_WORD}|{seed}|{part}|{next(calls)}") * len(given) >> 64]

    return choose


def _number(words: str) -> int:
    return int.from_bytes(sha256(words.encode("ascii")).digest()[:8], "big")
