"""The filter of ListSettings: comparisons joined by AND.

    key = "bot_manager.*" AND modified = true AND definition.owner = "bot_manager"

A trailing `*` after a key makes it a prefix. Anything else is INVALID_FILTER, with the part that is not understood.
"""

import re
from dataclasses import dataclass, replace

from mesh.errors import InvalidArgument

_COMPARISON = re.compile(r'\s*([a-z_.]+)\s*=\s*(?:"([^"\\]*)"|([A-Za-z0-9_.*]+))\s*', re.ASCII)
_AND = re.compile(r"AND\s", re.ASCII)


@dataclass(frozen=True, slots=True)
class SettingFilter:
    """What a setting must satisfy; None or "" where it may be anything."""

    key: str = ""
    key_prefix: str = ""
    owner: str = ""
    modified: bool | None = None


def parse_filter(text: str) -> SettingFilter:
    """Raises InvalidArgument (INVALID_FILTER)."""
    result = SettingFilter()
    if not text.strip():
        return result
    seen: set[str] = set()
    position = 0
    while True:
        match = _COMPARISON.match(text, position)
        if match is None or match[1] in seen:
            raise _refused(text[position:])
        seen.add(match[1])
        result = _with(result, match[1], match[2] if match[2] is not None else match[3])
        if match.end() == len(text):
            return result
        joint = _AND.match(text, match.end())
        if joint is None:
            raise _refused(text[match.end() :])
        position = joint.end()


def _with(known: SettingFilter, field: str, value: str) -> SettingFilter:
    match field, value:
        case "key", _ if value.endswith("*") and "*" not in value[:-1]:
            return replace(known, key_prefix=value[:-1])
        case "key", _ if value and "*" not in value:
            return replace(known, key=value)
        case "definition.owner", _ if value:
            return replace(known, owner=value)
        case "modified", "true" | "false":
            return replace(known, modified=value == "true")
    raise _refused(f"{field} = {value}")


def _refused(part: str) -> InvalidArgument:
    return InvalidArgument("INVALID_FILTER", f"not understood: {part[:80]}", field="filter")
