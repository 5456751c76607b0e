"""Patterns that people configure, matched by RE2: in time linear in the text, whatever the pattern. Python's `re` would let a careless
one stop the process."""

from collections.abc import Sequence
from typing import Any, Final

import re2

from mesh.redaction.shapes import REDACTED

MAX_PATTERNS: Final = 50
MAX_PATTERN_CHARS: Final = 200
MAX_MEMORY_BYTES: Final = 8 * 1024 * 1024
"""Of all patterns together, once compiled."""


class PatternError(ValueError):
    """A pattern cannot be used. The text names it by its place in the list, never by itself."""


class Patterns:
    """Any of these. Raises PatternError from the constructor."""

    def __init__(self, patterns: Sequence[str]) -> None:
        if len(patterns) > MAX_PATTERNS:
            raise PatternError(f"there are more than {MAX_PATTERNS} patterns")
        for number, pattern in enumerate(patterns, 1):
            if len(pattern) > MAX_PATTERN_CHARS:
                raise PatternError(f"pattern {number} is longer than {MAX_PATTERN_CHARS} characters")
            if _compiled(pattern, f"pattern {number}").search("") is not None:
                raise PatternError(f"pattern {number} matches an empty text, so it would match everywhere")
        together = "|".join(f"(?:{pattern})" for pattern in patterns)
        self._any = _compiled(together, "the patterns together")

    def replace(self, text: str) -> str:
        """The text with every match replaced."""
        try:
            text.encode()
        except UnicodeEncodeError:  # lone surrogates, of which RE2 knows nothing
            text = text.encode("utf-8", "backslashreplace").decode()
        return str(self._any.sub(REDACTED, text))


def _compiled(pattern: str, name: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        raise PatternError(f"{name}: no regular expression of RE2, or too large a one") from None
