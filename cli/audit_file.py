"""The file that `vivesphere audit export` writes and `vivesphere audit verify` reads: one JSON object a line, each saying what it is.

    {"kind":"audit-export","version":1,"chain":"main","verifier_keys":["vivesphere.audit/main+…"]}
    {"kind":"tombstone","note":"…"}           as many as there are, oldest first
    {"kind":"event","sequence":1,…}           oldest first, every field that is hashed and the hashes
    {"kind":"checkpoint","note":"…"}          newest first
    {"kind":"end","events":1042,"tombstones":0,"checkpoints":17}

There is one spelling of each line, so that no byte can be changed without being noticed, not even one that changes no meaning.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cli.errors import CliError
from services.logging.domain.chain import AuditEvent, ChainedEvent, exact

VERSION: Final = 1
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
_EVENT: Final = b'{"kind":"event",'
_CONTENT: Final = tuple(field.name for field in fields(AuditEvent))
_PLACE: Final = ("chain", "sequence", "format", "erased")
_BYTES: Final = ("hash", "previous_hash", "commitment", "salt")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class BadLine(CliError):
    """A line that is not as it was written."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its number, from 1, not yet read."""

    number: int
    content: bytes

    @property
    def is_event(self) -> bool:
        """Whether it says that it is an event."""
        return self.content.startswith(_EVENT)


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of a file, one at a time. Raises OSError; a line without end is cut, so that it cannot be read."""
    with path.open("rb") as file:
        number = 0
        while content := file.readline(MAX_LINE_BYTES):
            number += 1
            yield Line(number, content)


def header(chain: str, verifier_keys: list[str]) -> str:
    """The first line."""
    return written(
        {"kind": "audit-export", "version": VERSION, "chain": chain, "verifier_keys": verifier_keys}
    )


def event_line(event: ChainedEvent) -> str:
    """The line of an event."""
    plain = {"kind": "event"} | {name: getattr(event, name) for name in _PLACE}
    plain |= {name: getattr(event, name).hex() for name in _BYTES}
    plain |= {name: getattr(event.event, name) for name in _CONTENT}
    plain["time"] = _stamp(event.event.time)
    return written(plain)


def written(item: Mapping[str, Any]) -> str:
    """An object as a line."""
    return _encode(item) + "\n"


def read(line: Line) -> dict[str, Any]:
    """The object of a line. Raises BadLine unless it is one that was written so."""
    try:
        text = line.content.decode()
        item = json.loads(text)
    except (ValueError, RecursionError):
        raise BadLine(f"line {line.number} cannot be read") from None
    if not isinstance(item, dict) or not isinstance(item.get("kind"), str) or _again(item) != text:
        raise BadLine(f"line {line.number} is not as it was written")
    return item


def event_from(line: Line) -> ChainedEvent:
    """The event of a line. Raises BadLine."""
    try:
        item = json.loads(line.content)
        item.pop("kind")
        content = {name: item.pop(name) for name in _CONTENT}
        content["time"] = datetime.fromisoformat(content["time"])
        item |= {name: bytes.fromhex(item[name]) for name in _BYTES}
        event = ChainedEvent(event=AuditEvent(**content), **item)
        # Other spellings of times and hashes mean the same: only ours is right.
        if event_line(event).encode() == line.content and type(event.sequence) is int:
            return event
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        pass
    raise BadLine(f"line {line.number} is not the line of an event")


def event_of(message: Mapping[str, Any]) -> ChainedEvent:
    """The event of an answer of the REST API, which leaves out what is empty and spells numbers in its own way."""
    names = {name: _camel(name) for name in _CONTENT}
    content: dict[str, Any] = {name: message.get(key, "") for name, key in names.items()}
    content["time"] = datetime.fromisoformat(message["time"]).astimezone(UTC)
    content["request"] = exact(message.get("request", {}))
    return ChainedEvent(
        sequence=message.get("sequence", 0),
        event=AuditEvent(**content),
        chain=message.get("chain", ""),
        format=message.get("format", 0),
        erased=message.get("erased", False),
        **{name: bytes.fromhex(message.get(_camel(name), "")) for name in _BYTES},
    )


def _again(item: Mapping[str, Any]) -> str:
    try:
        return written(item)
    except ValueError:
        return ""  # NaN and Infinity, which Python reads and JSON does not have


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
