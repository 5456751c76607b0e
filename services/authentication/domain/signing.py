"""Signing keys: their life, their names, and the public key set.

    NEXT ──▶ ACTIVE ──▶ RETIRING ──▶ RETIRED
      └─────────┴───────────┴──────────▲        given up as compromised

A key's id is its RFC 7638 thumbprint, so nobody can give one key another's name. Published are NEXT, ACTIVE and RETIRING keys.
"""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

JWKS_CONTENT_TYPE: Final = "application/jwk-set+json"


class KeyState(StrEnum):
    """Where a key is in its life. Text as stored, and as the contract's enum without its prefix."""

    NEXT = "NEXT"
    ACTIVE = "ACTIVE"
    RETIRING = "RETIRING"
    RETIRED = "RETIRED"


TRANSITIONS: Final = {
    KeyState.NEXT: frozenset({KeyState.ACTIVE, KeyState.RETIRED}),
    KeyState.ACTIVE: frozenset({KeyState.RETIRING, KeyState.RETIRED}),
    KeyState.RETIRING: frozenset({KeyState.RETIRED}),
    KeyState.RETIRED: frozenset[KeyState](),
}
PUBLISHED: Final = frozenset({KeyState.NEXT, KeyState.ACTIVE, KeyState.RETIRING})


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key as stored: the public half in clear, the private half sealed by the vault."""

    id: str
    state: KeyState
    public_key: bytes
    sealed_private_key: str = field(repr=False)
    create_time: datetime
    activate_time: datetime | None = None
    retire_time: datetime | None = None

    def verifier(self) -> Ed25519PublicKey:
        """The public half."""
        return Ed25519PublicKey.from_public_bytes(self.public_key)


def thumbprint(public_key: bytes) -> str:
    """RFC 7638 thumbprint of an Ed25519 key (RFC 8037 section 2): base64url of SHA-256, 43 characters."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public_key)}
    return _base64url(
        hashlib.sha256(json.dumps(members, sort_keys=True, separators=(",", ":")).encode()).digest()
    )


def jwks(keys: Iterable[SigningKey]) -> bytes:
    """The published keys as a JSON Web Key Set (RFC 7517), oldest first."""
    published = sorted(
        (key for key in keys if key.state in PUBLISHED), key=lambda key: (key.create_time, key.id)
    )
    entries = [
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "use": "sig",
            "alg": "EdDSA",
            "kid": key.id,
            "x": _base64url(key.public_key),
        }
        for key in published
    ]
    return json.dumps({"keys": entries}, separators=(",", ":")).encode()


def private_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes that are the private key."""
    return key.private_bytes_raw()


def binding(key_id: str) -> bytes:
    """What ties a sealed private key to its row: given when sealing, required when opening."""
    return b"signing-key:" + key_id.encode("ascii")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
