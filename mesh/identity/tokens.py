"""Checks access tokens the strict way (RFC 7519, RFC 8725, RFC 9068).

PyJWT checks the signature; around it stands a canonical-form check, because PyJWT alone accepts padded segments, duplicate member
names, foreign byte order marks, any `typ` and fractional times. The order is fixed: length → three base64url parts that re-encode
to themselves → JSON objects without duplicates → exactly our header → key known here and meant for this algorithm → signature →
claims of exact types and within bounds. Whatever fails, the caller learns one thing: the token is not valid.

Why it is not valid is told to the log alone, in the words of `Fault`.

Issuing is the business of authentication; this module only reads.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mesh.identity.strict import decode_base64url, read_object

ALGORITHM = "EdDSA"
TYPE = "at+jwt"
TYPES = frozenset({TYPE, f"application/{TYPE}"})
"""Spellings of the type in lower case: media types know no case, and `application/` may be left out (RFC 7515 section 4.1.9)."""
ISSUER = "vivesphere"
AUDIENCE = "vivesphere"
CLIENT_ID = "vivesphere"

MAX_TOKEN_CHARS = 8192
MAX_LIFETIME_SECONDS = 900
CLOCK_SKEW_SECONDS = 5
MAX_ROLES = 64
EARLIEST_TIME = 1_600_000_000
LATEST_TIME = 4_102_444_800

_SEGMENT = r"[A-Za-z0-9_-]+"
_COMPACT = re.compile(rf"({_SEGMENT})\.({_SEGMENT})\.({_SEGMENT})", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}", re.ASCII)
_CLAIMS = frozenset({"iss", "aud", "sub", "exp", "nbf", "iat", "jti", "sid", "client_id", "roles"})
SECOND_FACTOR_CLAIM = "second_factor_time"
"""Unix seconds of the session's last proof of a second factor; absent if there was none."""
PASSWORD_CHANGE_CLAIM = "password_change_required"  # noqa: S105 - a claim's name
"""True while a one-time password is not changed; absent otherwise."""
_MORE_CLAIMS = frozenset({SECOND_FACTOR_CLAIM, PASSWORD_CHANGE_CLAIM})
_HEADER = frozenset({"alg", "kid", "typ"})


Fault = Literal[
    "length",
    "form",
    "encoding",
    "json",
    "header",
    "key_id",
    "unknown_key",
    "signature",
    "claims",
    "issuer",
    "lifetime",
    "not_now",
]
"""What can be wrong with a token, the first that is found. Fixed words: nothing of the token itself is ever told."""


class TokenInvalid(Exception):
    """The token does not hold. `fault` says why for tests and logs, never for the caller."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class UnknownKey(TokenInvalid):
    """Well-formed, but signed with a key this process has not seen; the keys may have to be read again."""

    def __init__(self, key_id: str) -> None:
        super().__init__("unknown_key")
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of a token that holds. Times are Unix seconds."""

    subject: str
    session_id: str
    token_id: str
    roles: tuple[str, ...]
    issued_at: int
    expires_at: int
    key_id: str
    """The key that signed it."""
    second_factor_at: int | None = None
    password_change_required: bool = False

    @property
    def expire_time(self) -> datetime:
        return datetime.fromtimestamp(self.expires_at, UTC)

    @property
    def second_factor_time(self) -> datetime | None:
        return None if self.second_factor_at is None else datetime.fromtimestamp(self.second_factor_at, UTC)


def verify(token: str, keys: dict[str, Ed25519PublicKey], now: float) -> AccessToken:
    """The claims of `token` if it holds at `now` (Unix seconds).

    Raises UnknownKey if its `kid` is not in `keys`, TokenInvalid for everything else.
    """
    header, claims = _decode_canonical(token)
    if header.keys() != _HEADER or header["alg"] != ALGORITHM or not _is_type(header["typ"]):
        raise TokenInvalid("header")
    key_id = header["kid"]
    if not isinstance(key_id, str) or not _ID.fullmatch(key_id):
        raise TokenInvalid("key_id")
    key = keys.get(key_id)
    if key is None:
        raise UnknownKey(key_id)
    try:
        jwt.api_jws.decode(token, key=key, algorithms=[ALGORITHM])
    except jwt.PyJWTError:
        raise TokenInvalid("signature") from None
    return _check_claims(claims, key_id, now)


def _is_type(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.lower() in TYPES


def _decode_canonical(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenInvalid("length")
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise TokenInvalid("form")
    try:
        header, payload, _ = map(decode_base64url, match.groups())
    except ValueError:
        raise TokenInvalid("encoding") from None
    try:
        return read_object(header), read_object(payload)
    except ValueError:
        raise TokenInvalid("json") from None


def _check_claims(claims: dict[str, Any], key_id: str, now: float) -> AccessToken:
    if claims.keys() - _MORE_CLAIMS != _CLAIMS:
        raise TokenInvalid("claims")
    if claims["iss"] != ISSUER or claims["aud"] != AUDIENCE or claims["client_id"] != CLIENT_ID:
        raise TokenInvalid("issuer")
    expires, not_before, issued = (_time(claims[name]) for name in ("exp", "nbf", "iat"))
    if expires - issued > MAX_LIFETIME_SECONDS or not issued <= not_before < expires:
        raise TokenInvalid("lifetime")
    if now >= expires or not_before > now + CLOCK_SKEW_SECONDS:
        raise TokenInvalid("not_now")
    return AccessToken(
        subject=_identifier(claims["sub"]),
        session_id=_identifier(claims["sid"]),
        token_id=_identifier(claims["jti"]),
        roles=_roles(claims["roles"]),
        issued_at=issued,
        expires_at=expires,
        key_id=key_id,
        second_factor_at=_time(claims[SECOND_FACTOR_CLAIM]) if SECOND_FACTOR_CLAIM in claims else None,
        password_change_required=_flag(claims, PASSWORD_CHANGE_CLAIM),
    )


def _time(value: object) -> int:
    if type(value) is not int or not EARLIEST_TIME <= value <= LATEST_TIME:
        raise TokenInvalid("claims")
    return value


def _flag(claims: dict[str, Any], name: str) -> bool:
    """A flag that is true or absent: one meaning, one spelling."""
    if name in claims and claims[name] is not True:
        raise TokenInvalid("claims")
    return name in claims


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise TokenInvalid("claims")
    return value


def _roles(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_ROLES:
        raise TokenInvalid("claims")
    return tuple(_identifier(role) for role in value)
