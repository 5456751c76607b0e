"""A text that must not be seen by accident.

`Secret` holds a password, key or token on its way from a file or a request to the one call that needs it. Printing, formatting,
logging, JSON, pickle and dataclass copies never show it; `reveal()` is the only way out and easy to search for. Comparing takes
the same time wherever two values differ. It does not wipe memory: Python cannot promise that.
"""

import hmac
from pathlib import Path
from typing import Final, NoReturn, Self

REDACTED: Final = "Secret(****)"
KiB: Final = 1024
MAX_FILE_BYTES: Final = 64 * KiB


class Secret:
    """An immutable secret text. Equal only to another Secret; unhashable, so that it never becomes a dictionary key."""

    __slots__ = ("_value",)
    __hash__ = None  # type: ignore[assignment]  # the documented way to make a class unhashable

    _value: str

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("a Secret holds text")
        object.__setattr__(self, "_value", value)

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """The content of a UTF-8 file without line ends after it. Raises OSError, or ValueError when empty, too large or no text."""
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"{path}: larger than {MAX_FILE_BYTES} bytes, not a secret")
        # A UnicodeDecodeError would carry the bytes, so it must not even be the context of ours.
        text = _decode(content)
        if text is None:
            raise ValueError(f"{path}: not UTF-8 text")
        value = text.rstrip("\r\n")
        if not value:
            raise ValueError(f"{path}: empty")
        return cls(value)

    def reveal(self) -> str:
        """The value. Pass it straight to the call that needs it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_encode(self._value), _encode(other._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return REDACTED

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret cannot be changed")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be serialised")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret cannot be serialised")


def _decode(content: bytes) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _encode(value: str) -> bytes:
    # Lone surrogates can arrive in JSON text; comparing must not raise, an error would show the value.
    return value.encode("utf-8", "surrogatepass")
