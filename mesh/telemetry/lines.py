"""A redacted record as a line on standard output: compact for a person at a terminal, JSON for everything else.

One record is one line, apart from a traceback shown to a person. Control characters, line separators and direction marks are
escaped, so that nothing that is logged can forge a line or drive the terminal.
"""

import json
import unicodedata
from typing import Any, Final

from mesh.telemetry.records import split_fields
from mesh.telemetry.snapshot import Snapshot

STACK: Final = "exception.stacktrace"
_COLOURS: Final = {
    "TRACE": "2",
    "DEBUG": "2",
    "SUCCESS": "32",
    "WARNING": "33",
    "ERROR": "31",
    "CRITICAL": "31;1",
}
# Control, format (direction marks among them), surrogate; line and paragraph separator.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def json_line(record: Snapshot, service: str, instance: str) -> str:
    """Every field under the name it has in the log store; empty ones are left out. ASCII only, without the line end."""
    own, attributes = split_fields(record.extra)
    fields: dict[str, Any] = {
        "time": record.time.isoformat(),
        "severity": record.level_name,
        "body": record.message,
        "service": service,
        "instance": instance,
        "logger": record.logger,
        **{name: value for name, value in own.items() if value},
    }
    if attributes:
        fields["attributes"] = attributes
    return json.dumps(fields, default=repr, separators=(",", ":"))


def human_line(record: Snapshot, service: str) -> str:
    """`12:30:01.250 WARNING bot_manager  post waits  post_id=…`, in colour by severity; a traceback follows on lines of its own."""
    extra = dict(record.extra)
    stack = extra.pop(STACK, "")
    fields = "  ".join(
        f"{escape(name)}={_short(value)}" for name, value in extra.items() if value not in ("", None)
    )
    level = record.level_name
    colour = _COLOURS.get(level)
    shown = f"\x1b[{colour}m{level:<8}\x1b[0m" if colour else f"{level:<8}"
    line = f"{record.time:%H:%M:%S.%f}"[:-3] + f" {shown} {service}  {escape(record.message)}"
    tail = "".join(f"\n    {escape(part)}" for part in str(stack).splitlines())
    return f"{line}  {fields}{tail}" if fields else f"{line}{tail}"


def escape(text: str) -> str:
    """`text` with everything that could move the cursor or the reading direction written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if unicodedata.category(character) in _UNSAFE:
        return character.encode("unicode_escape").decode("ascii")
    return character


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    return escape(f'"{text}"' if " " in text else text)
