"""Passwords that everybody tries first: some 16,000 of 8 characters and more.

Read once, when somebody first sets a password, and kept as the one text it is, 160 KB: a set of the same words takes ten times as much,
and looking through the text takes 50 µs, next to the hash that follows.
"""

import gzip
from functools import cache
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).resolve().parent.parent / "data" / "common_passwords.txt.gz"


def is_common(password: str) -> bool:
    """Whether the password, in whatever case, is on the list."""
    folded = password.casefold()
    return "\n" not in folded and f"\n{folded}\n".encode("utf-8", "surrogatepass") in _text()


@cache
def _text() -> bytes:
    return b"\n" + gzip.decompress(FILE.read_bytes())
