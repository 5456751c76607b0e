"""Signing keys: their life, their names, and the public key set.

    NEXT ──▶ ACTIVE ──▶ RETIRING ──▶ RETIRED
      └─────────┴───────────┴──────────▲        given up as compromised

A key's id is its RFC 7638 thumbprint, so nobody can give one key another's name. Published are NEXT, ACTIVE and RETIRING keys.

`due` says what has to happen to a set of keys at a time; it is the whole schedule. A NEXT key waits for LEAD, by which every cache of
the key set knows it; a RETIRING key stays published until the last token that any replica can have signed with it has ended.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mesh.identity.strict import encode_base64url
from services.authentication.domain.revocation import LONGEST_ACCESS_TOKEN

JWKS_CONTENT_TYPE: Final = "application/jwk-set+json"
CACHE_LIFE: Final = timedelta(minutes=5)
"""How long anybody may keep a copy of the key set; services read it anew as often."""
SPREAD: Final = timedelta(minutes=1)
"""By then every replica has read what one of them has written about the keys."""
LEAD: Final = CACHE_LIFE + SPREAD
LINGER: Final = LONGEST_ACCESS_TOKEN + SPREAD


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


@dataclass(frozen=True, slots=True)
class Due:
    """What has to be done: keys to write as they are here, and whether a key is to be made, to sign from `make_for` on."""

    changed: tuple[SigningKey, ...] = ()
    make_for: datetime | None = None


def due(keys: Iterable[SigningKey], interval: timedelta, now: datetime) -> Due:
    """What the schedule asks for at `now`; `interval` is how long a key signs. Nothing if there is no key at all yet."""
    by_state: dict[KeyState, list[SigningKey]] = {}
    for key in keys:
        by_state.setdefault(key.state, []).append(key)
    active = next(iter(by_state.get(KeyState.ACTIVE, ())), None)
    waiting = next(iter(by_state.get(KeyState.NEXT, ())), None)
    changed = [
        replace(key, state=KeyState.RETIRED)
        for key in by_state.get(KeyState.RETIRING, ())
        if key.retire_time is None or now >= key.retire_time
    ]
    make_for = None
    if waiting is not None and (waiting.activate_time is None or now >= waiting.activate_time):
        if active is not None:
            changed.append(replace(active, state=KeyState.RETIRING, retire_time=now + LINGER))
        changed.append(replace(waiting, state=KeyState.ACTIVE, activate_time=now))
    elif waiting is None and active is not None:
        end = (active.activate_time or active.create_time) + interval
        make_for = max(end, now + LEAD) if now >= end - LEAD else None
    return Due(tuple(changed), make_for)


def given_up(key: SigningKey, now: datetime) -> SigningKey:
    """The key, retired before its time. One that waited for its turn never gets it."""
    activate = None if key.state is KeyState.NEXT else key.activate_time
    return replace(key, state=KeyState.RETIRED, activate_time=activate, retire_time=now)


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
            "x": encode_base64url(key.public_key),
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
