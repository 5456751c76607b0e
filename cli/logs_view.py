"""How records are shown: lines in colour to a person, JSON lines to a program. No record can forge a line or drive the terminal."""

import json
import sys
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from mesh.telemetry.lines import escape

_LEVELS: Final = {
    "TRACE": "dim",
    "DEBUG": "dim",
    "INFO": "",
    "WARN": "yellow",
    "ERROR": "red",
    "FATAL": "bold red",
}
_FIELDS: Final = {"actor": "actor", "botId": "bot", "requestId": "request", "traceId": "trace"}


class LogView:
    """Writes to standard output; raises BrokenPipeError when nobody reads it any more."""

    def __init__(self, *, as_json: bool) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._as_json = as_json or not self._console.is_terminal

    def record(self, record: dict[str, Any]) -> None:
        """One record."""
        self._line(record if self._as_json else record_text(record))

    def tail_item(self, item: dict[str, Any]) -> None:
        """A record or a gap of a tail; nothing for an item that only says that the server is there."""
        if "record" in item:
            self.record(item["record"])
        elif "gap" in item:
            self._line({"gap": item["gap"]} if self._as_json else gap_text(item["gap"]))

    def _line(self, content: Text | dict[str, Any]) -> None:
        if isinstance(content, Text):
            with self._console.capture() as captured:
                self._console.print(content)
            line = captured.get()
        else:
            line = json_line(content)
        sys.stdout.write(line)
        sys.stdout.flush()


def json_line(value: Any) -> str:
    """ASCII, whatever the value holds."""
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f") + "\n"


def record_text(record: dict[str, Any]) -> Text:
    """`2026-01-31 12:00:00.250 WARN  bot_manager  post waits  post_id=…`; further lines of the body below, indented."""
    level = _level(record)
    first, *more = str(record.get("body", "")).split("\n")
    fields = {shown: record[name] for name, shown in _FIELDS.items() if record.get(name)}
    fields |= record.get("attributes", {})
    line = Text()
    line.append(_time(record.get("time", "")), "dim")
    line.append(f" {level:<5} ", _LEVELS.get(level, ""))
    line.append(f"{escape(record.get('service', ''))}  ", "cyan")
    line.append(escape(first), _LEVELS.get(level, ""))
    for name, value in fields.items():
        line.append(f"  {escape(name)}=", "dim")
        line.append(_short(value))
    for part in more:
        line.append(f"\n    {escape(part)}")
    return line


def gap_text(gap: dict[str, Any]) -> Text:
    """What was left out, and how to see it."""
    since, until = (_time(gap.get(name, "")) for name in ("firstTime", "lastTime"))
    return Text(
        f"-- {gap.get('droppedCount', 0)} records left out, {since} to {until}: read too slowly --",
        "bold magenta",
    )


def _level(record: dict[str, Any]) -> str:
    """The level without its step: SEVERITY_WARN2 is WARN."""
    name = str(record.get("severity", ""))
    return "" if name.endswith("UNSPECIFIED") else name.removeprefix("SEVERITY_").rstrip("234")


def _time(stamp: str) -> str:
    """UTC by the millisecond, every one of the same length."""
    seconds, _, fraction = escape(stamp).removesuffix("Z").replace("T", " ").partition(".")
    return f"{seconds}.{fraction[:3]:0<3}"


def _short(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of number; a port should read 8080
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return escape(f'"{text}"' if " " in text else text)
