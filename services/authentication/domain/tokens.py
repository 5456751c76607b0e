"""Makes tokens: signed access tokens (RFC 9068) and opaque refresh tokens.

An access token is exactly what `mesh.identity.tokens` accepts. A refresh token is 256 random bits behind a prefix by which secret
scanners know it; only its SHA-256 is kept, which is enough for a value that cannot be guessed.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.tokens import ALGORITHM, AUDIENCE, CLIENT_ID, ISSUER, TYPE

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
    ) -> str:
        """A signed token that is good from `now` for `lifetime`, both in whole seconds."""
        issued = int(now.timestamp())
        claims = {
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
        payload = json.dumps(claims, separators=(",", ":")).encode()
        return jwt.api_jws.encode(payload, self.key, ALGORITHM, headers={"kid": self.key_id, "typ": TYPE})


def new_refresh_token() -> str:
    """A token that nobody can guess."""
    return REFRESH_PREFIX + secrets.token_urlsafe(REFRESH_BYTES)


def refresh_token_hash(token: str) -> bytes:
    """The form in which a refresh token is stored and looked up, 32 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
