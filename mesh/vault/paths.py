"""Where a path in the vault is made, and nowhere else.

hvac percent-encodes most characters but sends `..` as it is, and `bots/../../../sys/mounts` reaches `/v1/sys/mounts` with our token.
So every segment has to match an allow-list before it becomes part of a path; there is no escaping to get wrong.
"""

import re
from typing import Final

from mesh.errors import InvalidArgument

SEGMENT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
MAX_DEPTH: Final = 8


def segment(text: str, field: str = "path") -> str:
    """`text` when it is a safe path segment (`^[a-z0-9][a-z0-9_-]{0,62}$`; UUIDs are). InvalidArgument naming `field` otherwise."""
    if not isinstance(text, str) or SEGMENT.fullmatch(text) is None:
        raise InvalidArgument(
            "INVALID_FIELD",
            f"{field} must be 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit",
            field=field,
        )
    return text


def secret_path(prefix: str, segments: tuple[str, ...]) -> str:
    """The path of one secret below `prefix`, such as `bots/<bot id>/x_oauth1`. At least one segment, at most eight."""
    if not 1 <= len(segments) <= MAX_DEPTH:
        raise InvalidArgument("INVALID_FIELD", f"path must have 1 to {MAX_DEPTH} segments", field="path")
    return "/".join([segment(prefix, "prefix"), *(segment(part) for part in segments)])


def folder_path(prefix: str, segments: tuple[str, ...]) -> str:
    """The path of a folder, with the slash at its end that listing wants. No segments: the prefix itself."""
    return (secret_path(prefix, segments) if segments else segment(prefix, "prefix")) + "/"
