"""Settings as a YAML file: one mapping from keys to values. What is written is read back as the same values.

Reading is strict, because YAML 1.1 makes a boolean of `no`, a number of `1:30` and a date of `2026-01-01`. Here a plain word is JSON's
null, true, false or a number, or a text that no version of YAML takes for anything else; the rest has to be quoted. Anchors, aliases,
merge keys, tags and duplicate keys are refused, so a file cannot grow while it is read. It is read event by event from libyaml into a
stack of our own: nesting costs no recursion and ends at MAX_DEPTH.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from services.configuration.domain.values import MAX_EXACT, Json, whole

MAX_BYTES = 1024 * 1024
"""Contract of ImportSettingsRequest."""
MAX_DEPTH = 64
"""Lists and mappings within one another, the file's own included. protobuf carries no deeper value."""
MAX_DIGITS = 17
"""Characters of an integer up to MAX_EXACT, with its sign."""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][+-]?[0-9]+)?", re.ASCII)
_LITERALS: dict[str, Json] = {"null": None, "true": True, "false": False}
_LATER_NUMBERS = re.compile(r"0o[0-7]+|[-+]?\.?[0-9][0-9_.eE+-]*", re.ASCII)
"""What YAML 1.2, or a reader more generous than either, takes for a number and YAML 1.1 for text."""
_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*", re.ASCII)
_TEXT = "tag:yaml.org,2002:str"


class NotSettings(Exception):
    """The file cannot be read as settings; `line` counts from 1, 0 if unknown."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a file with its value; `line` counts from 1."""

    key: str
    value: Json
    line: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end was not seen yet."""

    value: Any
    key: str | None = None
    """In a mapping: the key whose value comes next."""
    lines: dict[str, int] = field(default_factory=dict)
    """In a mapping: where each key was seen."""


def read(text: str) -> tuple[Entry, ...]:
    """The entries in the order of the file. Raises NotSettings."""
    size = len(text.encode())
    if size > MAX_BYTES:
        raise NotSettings(0, f"{size:,} bytes; at most {MAX_BYTES:,} are read")
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise NotSettings(mark.line + 1 if mark else 0, f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise NotSettings(0, f"not YAML: {str(error)[:200]}") from None
    return reader.entries()


def write(entries: Iterable[tuple[str, Json, bool]], revision: int) -> str:
    """The file for (key, value, whether it is the default), sorted by key; the same entries always give the same bytes."""
    return "".join(_written(sorted(entries, key=lambda entry: entry[0]), revision))


def _written(entries: list[tuple[str, Json, bool]], revision: int) -> Iterator[str]:
    yield f"# ViveSphere settings, revision {revision}\n"
    if not entries:
        yield "{}\n"
    for key, value, is_default in entries:
        if is_default:
            yield "# default\n"
        yield yaml.dump(
            {key: value},
            Dumper=_Dumper,
            allow_unicode=True,
            sort_keys=True,
            default_flow_style=False,
            width=-1,
        )


class _Reader:
    """Builds the top mapping out of events."""

    def __init__(self) -> None:
        self._stack: list[_Open] = []
        self._top: _Open | None = None
        self._documents = 0

    def entries(self) -> tuple[Entry, ...]:
        """What was read. Raises NotSettings if that was no mapping."""
        if self._top is None:
            raise NotSettings(1, "the file is empty; a mapping from keys to values is expected, {} for none")
        top = self._top
        return tuple(Entry(key, value, top.lines[key]) for key, value in top.value.items())

    def take(self, event: Any) -> None:
        """The next event. Raises NotSettings."""
        line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1 or event.version or event.tags:
                raise NotSettings(line, "one document without directives is expected")
        elif isinstance(event, AliasEvent):
            raise NotSettings(line, "aliases are refused: write the value out")
        elif isinstance(event, NodeEvent):
            self._node(event, line)
        elif isinstance(event, CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, DocumentEndEvent):
            return

    def _node(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise NotSettings(line, "anchors are refused: write the value out")
        if event.tag is not None:
            raise NotSettings(line, "tags are refused: a value is what it is written as")
        inside = self._stack[-1] if self._stack else None
        if isinstance(event, ScalarEvent):
            if inside is None:
                raise NotSettings(line, "a mapping from keys to values is expected")
            if isinstance(inside.value, dict) and inside.key is None:
                self._key(inside, event, line)
            else:
                _put(inside, _scalar(event, line))
            return
        opened = _Open([] if isinstance(event, SequenceStartEvent) else {})
        if inside is None:
            if not isinstance(event, MappingStartEvent):
                raise NotSettings(line, "a mapping from keys to values is expected")
            self._top = opened
        elif isinstance(inside.value, dict) and inside.key is None:
            raise NotSettings(line, "a key must be a text")
        else:
            _put(inside, opened.value)
        if len(self._stack) >= MAX_DEPTH:
            raise NotSettings(line, f"more than {MAX_DEPTH} lists and mappings within one another")
        self._stack.append(opened)

    def _key(self, inside: _Open, event: ScalarEvent, line: int) -> None:
        # In a value as JSON has it, a key is a text whatever it looks like; a quoted one always is.
        key = event.value
        if not isinstance(_scalar(event, line), str):
            raise NotSettings(line, f"the key {key[:64]} is no text: quote it")
        if key in inside.lines:
            raise NotSettings(line, f"the key {key[:128]} is there already, in line {inside.lines[key]}")
        inside.lines[key], inside.key = line, key


def _put(inside: _Open, value: Json) -> None:
    if isinstance(inside.value, list):
        inside.value.append(value)
    else:
        inside.value[inside.key], inside.key = value, None


def _scalar(event: ScalarEvent, line: int) -> Json:
    text: str = event.value
    if not event.implicit[0]:  # quoted, or a block: text for certain
        return text
    if text in _LITERALS:
        return _LITERALS[text]
    if _NUMBER.fullmatch(text):
        return _number(text, line)
    if not text:
        raise NotSettings(line, 'a value is missing: write null, or "" for an empty text')
    if _old_kind(text) != _TEXT or _LATER_NUMBERS.fullmatch(text):
        raise NotSettings(
            line,
            f"{text[:64]} means different things to different readers: quote it, or write it as JSON does",
        )
    return text


def _number(text: str, line: int) -> Json:
    """As `google.protobuf.Value` would carry it: a double, integral ones as integers. Refused where that is another number."""
    number = float(text)
    match = _NUMBER.fullmatch(text)
    integral = match is not None and not match["fraction"] and not match["exponent"]
    if abs(number) == float("inf") or (integral and (len(text) > MAX_DIGITS or abs(int(text)) > MAX_EXACT)):
        raise NotSettings(line, f"the number {text[:32]} is too large to be kept exactly")
    return whole(number)


def _old_kind(text: str) -> str:
    """What YAML 1.1 takes a plain word for."""
    resolvers = yaml.CSafeLoader.yaml_implicit_resolvers
    for tag, pattern in [*resolvers.get(text[0], []), *resolvers.get(None, [])]:
        if pattern.match(text):
            return str(tag)
    return _TEXT


class _Dumper(yaml.CSafeDumper):
    """Quotes every text that is not plainly one, and repeats what occurs twice instead of referring to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN_TEXT.fullmatch(text) and text not in _LITERALS and _old_kind(text) == _TEXT
    return dumper.represent_scalar(_TEXT, text, style=None if plain else '"')


_Dumper.add_representer(str, _text_node)
