"""A text that a pattern takes: the shortest, made of the first character that fits each place.

Reads the part of RE2's syntax that contracts are written in: literals, escapes, classes, groups, alternatives, repetition,
anchors. What it makes is held against the pattern by RE2 itself, so a pattern that it misreads costs an example, no more.
"""

from functools import cache
from typing import Any, Final

import re2

_CLASSES: Final = {"d": "0", "w": "a", "s": " ", "S": "a", "D": "a", "W": "-"}
_CANDIDATES: Final = "aA0-_./ :,;+=*@#~!x"
_REPEATS: Final = {"*": 0, "?": 0, "+": 1}


@cache  # one entry a pattern of the contract
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False  # a pattern that needs much memory is matched more slowly, that is all
    return re2.compile(pattern, options)


def matches(pattern: str, text: str) -> bool:
    """Whether RE2 finds the pattern in the text, as buf.validate asks."""
    return _compiled(pattern).search(text) is not None


def text_for(pattern: str) -> str | None:
    """A text that the pattern is found in; None where none was found."""
    try:
        made = _Reader(pattern).alternatives()
    except (IndexError, ValueError):
        return None
    return made if matches(pattern, made) else None


class _Reader:
    """One pass over a pattern; raises IndexError or ValueError for what it cannot read."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def alternatives(self) -> str:
        """The first alternative that is not empty, up to a closing bracket or the end."""
        found = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            found.append(self._sequence())
        return next((one for one in found if one), "")

    def _sequence(self) -> str:
        made = []
        while self._peek() not in ("", "|", ")"):
            piece = self._atom()
            made.append(piece * self._times())
        return "".join(made)

    def _atom(self) -> str:
        character = self._next()
        if character == "(":
            self._skip_flags()
            inner = self.alternatives()
            if self._next() != ")":
                raise ValueError("unbalanced")
            return inner
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character in "^$":
            return ""
        return "a" if character == "." else character

    def _skip_flags(self) -> None:
        if self._peek() == "?":
            self._at = self._pattern.index(":", self._at) + 1

    def _escape(self) -> str:
        character = self._next()
        if character in "pP":
            self._property()
            return "a"
        if character in "bBAz":
            return ""
        return _CLASSES.get(character, character)

    def _property(self) -> None:
        if self._next() == "{":
            self._at = self._pattern.index("}", self._at) + 1

    def _class(self) -> str:
        start = self._at
        if self._peek() == "^":
            self._at += 1
        if self._peek() == "]":
            self._at += 1
        while self._next() != "]":
            if self._pattern[self._at - 1] == "\\":
                self._at += 1
        whole = "[" + self._pattern[start : self._at]
        first = self._pattern[start]
        candidates: tuple[str, ...] = (*first.strip("^\\"), *_CANDIDATES)
        for candidate in candidates:
            if matches(f"^{whole}$", candidate):
                return candidate
        raise ValueError("no candidate fits")

    def _times(self) -> int:
        character = self._peek()
        if character in _REPEATS and character:
            self._at += 1
            self._lazy()
            return max(_REPEATS[character], 0 if character == "?" else 1)
        if character != "{":
            return 1
        end = self._pattern.index("}", self._at)
        least = self._pattern[self._at + 1 : end].partition(",")[0]
        self._at = end + 1
        self._lazy()
        return int(least)

    def _lazy(self) -> None:
        if self._peek() == "?":
            self._at += 1

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._pattern[self._at]
        self._at += 1
        return character
