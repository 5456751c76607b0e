"""Makes tokens: signed access tokens (RFC 9068) and opaque refresh tokens.

An access token is exactly what `mesh.identity.tokens` accepts. A refresh token is 256 bits behind a prefix by which secret scanners
know it; only its SHA-256 is kept, which is enough for a value that cannot be guessed. The first of a session is random; each
successor is derived from its parent and a key that is in no database, so that a retry gets the same one without its being stored.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.tokens import (
    ALGORITHM,
    AUDIENCE,
    CLIENT_ID,
    ISSUER,
    PASSWORD_CHANGE_CLAIM,
    SECOND_FACTOR_CLAIM,
    TYPE,
)

TOKEN_TYPE: Final = "Bearer"  # noqa: S105 - the scheme's name (RFC 6750)
REFRESH_PREFIX: Final = "vsr_"
REFRESH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client holds after signing in or refreshing."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: timedelta
    session_id: str
    password_change_required: bool
    device_token: str = field(default="", repr=False)
    """Only signing in gives one."""


@dataclass(frozen=True, slots=True)
class Signer:
    """An open signing key."""

    key_id: str
    key: Ed25519PrivateKey = field(repr=False)

    def access_token(
        self,
        *,
        user_id: str,
        session_id: str,
        token_id: str,
        roles: Sequence[str],
        now: datetime,
        lifetime: timedelta,
        second_factor_time: datetime | None = None,
        password_change_required: bool = False,
    ) -> str:
        """A signed token that is good from `now` for `lifetime`, both in whole seconds."""
        issued = int(now.timestamp())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "exp": issued + int(lifetime.total_seconds()),
            "nbf": issued,
            "iat": issued,
            "jti": token_id,
            "sid": session_id,
            "client_id": CLIENT_ID,
            "roles": list(roles),
        }
        if second_factor_time is not None:
            claims[SECOND_FACTOR_CLAIM] = int(second_factor_time.timestamp())
        if password_change_required:
            claims[PASSWORD_CHANGE_CLAIM] = True
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return jwt.api_jws.encode(payload, self.key, ALGORITHM, headers={"kid": self.key_id, "typ": TYPE})


def new_refresh_token() -> str:
    """A token that nobody can guess."""
    return REFRESH_PREFIX + secrets.token_urlsafe(REFRESH_BYTES)


def successor_of(token: str, session_id: str, generation: int, key: bytes) -> str:
    """The one refresh token that may follow `token`, which is the session's `generation`-th."""
    parent = b"\x00".join(
        (token.encode("utf-8", "surrogatepass"), session_id.encode(), str(generation).encode())
    )
    derived = base64.urlsafe_b64encode(hmac.digest(key, parent, "sha256"))
    return REFRESH_PREFIX + derived.rstrip(b"=").decode("ascii")


def refresh_token_hash(token: str) -> bytes:
    """The form in which a refresh token is stored and looked up, 32 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
