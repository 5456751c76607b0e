"""Which fields each kind of secret has.

A kind names required and optional fields and allows no others; GENERIC allows any. Errors name fields and never show a value.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mesh.errors import FieldViolation, InvalidArgument
from mesh.secret import Secret
from services.secure_bot_data.domain.model import SecretKind

MiB: Final = 1024 * 1024
MAX_TOTAL_BYTES: Final = 2 * MiB
EXPIRES_AT: Final = "expires_at"


@dataclass(frozen=True, slots=True)
class Shape:
    """Fields of a kind. Of `pairs` at least one must be there; each pair is given whole or not at all."""

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def known(self) -> frozenset[str]:
        """Every field that may be there."""
        return self.required | self.optional | {name for pair in self.pairs for name in pair}


SHAPES: Final[Mapping[SecretKind, Shape]] = {
    SecretKind.X_OAUTH1: Shape(
        required=frozenset({"consumer_key", "consumer_secret", "access_token", "access_token_secret"})
    ),
    SecretKind.X_OAUTH2: Shape(
        required=frozenset({"access_token"}),
        optional=frozenset({"refresh_token", "client_id", "client_secret", "scope", EXPIRES_AT}),
    ),
    SecretKind.X_APP: Shape(
        optional=frozenset({"bearer_token"}),
        pairs=(("consumer_key", "consumer_secret"), ("client_id", "client_secret")),
    ),
}
"""GENERIC is not here: it has no shape."""


def check_fields(kind: SecretKind, fields: Mapping[str, Secret]) -> None:
    """Raises InvalidArgument INVALID_FIELD naming every field that is missing, foreign or malformed for `kind`."""
    violations = [*_sizes(fields)]
    shape = SHAPES.get(kind)
    if shape is not None:
        violations += [*_missing(kind, shape, fields), *_foreign(kind, shape, fields)]
        if kind is SecretKind.X_OAUTH2 and EXPIRES_AT in fields and not _is_utc_time(fields[EXPIRES_AT]):
            violations.append(FieldViolation(path(EXPIRES_AT), "must be a time as in RFC 3339, in UTC"))
    if violations:
        first = violations[0]
        raise InvalidArgument("INVALID_FIELD", f"{first.field}: {first.description}", violations=violations)


def path(name: str) -> str:
    """How an error names a field of the map."""
    return f"fields[{name!r}]"


def _missing(kind: SecretKind, shape: Shape, names: Collection[str]) -> list[FieldViolation]:
    found = [
        FieldViolation(path(name), f"is required for {kind}")
        for name in sorted(shape.required.difference(names))
    ]
    for pair in shape.pairs:
        given = [name for name in pair if name in names]
        if len(given) == 1:
            absent = pair[0] if given[0] == pair[1] else pair[1]
            found.append(FieldViolation(path(absent), f"is required for {kind} together with {given[0]}"))
    if shape.pairs and not any(name in names for pair in shape.pairs for name in pair):
        choices = ", or ".join(" and ".join(pair) for pair in shape.pairs)
        found.append(FieldViolation("fields", f"{kind} needs {choices}"))
    return found


def _foreign(kind: SecretKind, shape: Shape, names: Collection[str]) -> list[FieldViolation]:
    return [
        FieldViolation(path(name), f"is not a field of {kind}")
        for name in sorted(frozenset(names) - shape.known)
    ]


def _sizes(fields: Mapping[str, Secret]) -> list[FieldViolation]:
    if not fields:
        return [FieldViolation("fields", "must have at least one field")]
    total = sum(len(secret.reveal().encode()) for secret in fields.values())
    if total > MAX_TOTAL_BYTES:
        return [FieldViolation("fields", f"values must have at most {MAX_TOTAL_BYTES} bytes together")]
    return []


def _is_utc_time(secret: Secret) -> bool:
    # A ValueError would show the text.
    try:
        return datetime.fromisoformat(secret.reveal()).utcoffset() == timedelta()
    except ValueError:
        return False
