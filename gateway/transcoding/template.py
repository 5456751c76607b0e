"""The path template grammar of google/api/http.proto.

    Template = "/" [ Segments ] [ Verb ] ;
    Segments = Segment { "/" Segment } ;
    Segment  = "*" | "**" | LITERAL | Variable ;
    Variable = "{" FieldPath [ "=" Segments ] "}" ;
    Verb     = ":" LITERAL ;

`**` stands for any number of segments, also none; at most one is allowed and nothing but literals may follow it. Variables do
not nest. A template is parsed once at the start; a mistake in it is a `TemplateError` that quotes the template.
"""

import re
from dataclasses import dataclass

from gateway.transcoding import urls

STAR = "*"
REST = "**"

_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()+,;=@]|%[0-9A-Fa-f]{2})+")
_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")


class TemplateError(ValueError):
    """A path template breaks the grammar; the message quotes it and says where."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A field filled from the segments `start` (inclusive) to `end` (exclusive) of the template."""

    field_path: str
    start: int
    end: int
    multiple: bool  # spans several segments, so reserved characters stay encoded


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: segments are literals, `*` or `**`; `verb` is "" when there is none."""

    text: str
    segments: tuple[str, ...]
    variables: tuple[Variable, ...]
    verb: str
    loose: bool  # has a wildcard outside its variables

    def extract(self, segments: list[str], kept: frozenset[int] = urls.RESERVED) -> list[str]:
        """Return the decoded value of each variable for the raw path segments of a path that matched.

        `kept` are the bytes that stay encoded in a variable of several segments. Raises ValueError for a broken escape or
        invalid UTF-8, also where a wildcard without a variable takes it.
        """
        if self.loose:
            urls.check("/".join(segments))
        surplus = len(segments) - len(self.segments)
        rest = self.segments.index(REST) if surplus else 0
        values = []
        for variable in self.variables:
            start, end = variable.start, variable.end
            if surplus:
                start += surplus if start > rest else 0
                end += surplus if end > rest else 0
            raw = segments[start] if end == start + 1 else "/".join(segments[start:end])
            values.append(urls.decode_except(raw, kept) if variable.multiple else urls.decode(raw))
        return values


def parse(text: str) -> Template:
    """Parse a template; raises TemplateError."""
    return _Parser(text).parse()


class _Parser:
    """One pass over the text; `_at` is the position of the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._segments: list[str] = []
        self._variables: list[Variable] = []

    def parse(self) -> Template:
        self._expect("/")
        if self._at < len(self._text) and self._peek() != ":":
            self._read_segments(inside_variable=False)
        verb = ""
        if self._peek() == ":" and self._segments:
            self._at += 1
            verb = self._read(_LITERAL, "a verb")
        if self._at != len(self._text):
            raise self._error(f"unexpected {self._peek()!r}")
        self._check_wildcards()
        paths = [variable.field_path for variable in self._variables]
        if len(set(paths)) != len(paths):
            raise self._error("a variable is bound twice")
        return Template(self._text, tuple(self._segments), tuple(self._variables), verb, self._is_loose())

    def _read_segments(self, *, inside_variable: bool) -> None:
        self._read_segment(inside_variable=inside_variable)
        while self._peek() == "/":
            self._at += 1
            self._read_segment(inside_variable=inside_variable)

    def _read_segment(self, *, inside_variable: bool) -> None:
        if self._text.startswith(REST, self._at):
            self._at += 2
            self._segments.append(REST)
        elif self._peek() == STAR:
            self._at += 1
            self._segments.append(STAR)
        elif self._peek() == "{":
            if inside_variable:
                raise self._error("variables do not nest")
            self._read_variable()
        else:
            self._segments.append(self._read(_LITERAL, "a segment"))

    def _read_variable(self) -> None:
        self._expect("{")
        path = self._read(_FIELD_PATH, "a field path")
        start = len(self._segments)
        if self._peek() == "=":
            self._at += 1
            self._read_segments(inside_variable=True)
        else:
            self._segments.append(STAR)
        self._expect("}")
        multiple = self._segments[start:] != [STAR]
        self._variables.append(Variable(path, start, len(self._segments), multiple))

    def _check_wildcards(self) -> None:
        if REST not in self._segments:
            return
        after = self._segments[self._segments.index(REST) + 1 :]
        if STAR in after or REST in after:
            raise self._error("no wildcard may follow **")

    def _is_loose(self) -> bool:
        bound = {at for variable in self._variables for at in range(variable.start, variable.end)}
        return any(one in (STAR, REST) and at not in bound for at, one in enumerate(self._segments))

    def _read(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise self._error(f"expected {what}")
        self._at = match.end()
        return match[0]

    def _expect(self, character: str) -> None:
        if self._peek() != character:
            raise self._error(f"expected {character!r}")
        self._at += 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _error(self, why: str) -> TemplateError:
        return TemplateError(f"path template {self._text!r}: {why} at character {self._at}")
