"""Takes secrets out of what a child prints, line by line, before a file keeps it.

Processes of the mesh redact what they log; engines and what a library prints by itself do not. A private key goes over many lines, of
which none looks like a secret: from its first line to its last nothing is kept.
"""

from typing import Final

MAX_KEY_LINES: Final = 200
"""A key that does not end by then never ends; what follows is kept again."""


class LineRedaction:
    """Of one child's output, in order."""

    def __init__(self) -> None:
        self._key_lines = 0

    def clean(self, line: bytes) -> bytes:
        """The line without secrets, newline included; nothing for a line within a private key."""
        from mesh.redaction import redactor  # takes longer to load than the engines wait for

        if self._key_lines:
            self._key_lines = 0 if _ends_key(line) else self._key_lines - 1
            return b""
        if b"-----BEGIN" in line and b"PRIVATE KEY" in line and not _ends_key(line):
            self._key_lines = MAX_KEY_LINES
        text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        return redactor.text(text).encode("utf-8", "surrogateescape") + b"\n"


def _ends_key(line: bytes) -> bool:
    return b"-----END" in line
