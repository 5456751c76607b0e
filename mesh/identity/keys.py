"""The public keys that access tokens are checked with: a cached copy of authentication's key set (RFC 7517).

Refreshed on a schedule, so that a new key is known before it signs, and once more when a token names an unknown `kid`, but then at
most once a minute, so that forged tokens cannot make a storm of fetches. A failed refresh keeps the old keys.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable

REFRESH_INTERVAL = timedelta(minutes=5)
UNKNOWN_KEY_INTERVAL = timedelta(minutes=1)
FIRST_RETRY = timedelta(milliseconds=200)
LONGEST_RETRY = timedelta(seconds=10)
MAX_KEYS = 16

Fetch = Callable[[], Awaitable[bytes]]


def parse_jwks(document: bytes) -> dict[str, Ed25519PublicKey]:
    """Ed25519 signing keys by `kid` out of a JWKS document. Raises ValueError if it is not one that we accept whole."""
    try:
        entries = json.loads(document)["keys"]
        keys = dict(_parse_key(entry) for entry in entries)
    except (KeyError, TypeError, UnicodeDecodeError, binascii.Error) as error:
        raise ValueError("not a key set") from error
    if len(keys) != len(entries) or len(keys) > MAX_KEYS:
        raise ValueError("duplicate kid, or too many keys")
    return keys


def _parse_key(entry: dict[str, Any]) -> tuple[str, Ed25519PublicKey]:
    if (entry["kty"], entry["crv"], entry["alg"], entry["use"]) != ("OKP", "Ed25519", "EdDSA", "sig"):
        raise ValueError("a key that is not for Ed25519 signatures")
    raw = base64.urlsafe_b64decode(entry["x"] + "=" * (-len(entry["x"]) % 4))
    return entry["kid"], Ed25519PublicKey.from_public_bytes(raw)


class KeySource:
    """Keys by `kid`. `current` never blocks; `refresh_for` waits for one fetch at most."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._loaded = False
        self._lock = asyncio.Lock()
        self._last_unknown: float | None = None

    @property
    def loaded(self) -> bool:
        """Whether the keys have been read at least once."""
        return self._loaded

    def current(self) -> dict[str, Ed25519PublicKey]:
        """The keys as last read. Raises Unavailable if they never were."""
        if not self._loaded:
            raise Unavailable(
                "POLICY_NOT_LOADED",
                "signing keys have not been read from authentication yet",
                retry_after=timedelta(seconds=1),
            )
        return self._keys

    async def refresh_for(self, key_id: str) -> dict[str, Ed25519PublicKey]:
        """The keys, read again if `key_id` is unknown and the last such read is a minute past."""
        async with self._lock:
            now = self._clock.monotonic()
            recent = (
                self._last_unknown is not None
                and now - self._last_unknown < UNKNOWN_KEY_INTERVAL.total_seconds()
            )
            if key_id not in self._keys and not recent:
                self._last_unknown = now
                await self._refresh()
        return self._keys

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        retry = FIRST_RETRY
        while True:
            async with self._lock:
                fetched = await self._refresh()
            if fetched:
                retry = FIRST_RETRY
                await self._clock.sleep(REFRESH_INTERVAL)
            else:
                await self._clock.sleep(retry)
                retry = min(retry * 2, LONGEST_RETRY)

    async def _refresh(self) -> bool:
        try:
            self._keys = parse_jwks(await self._fetch())
        except (MeshError, ValueError) as error:
            logger.bind(reason=getattr(error, "reason", "NOT_A_KEY_SET")).debug("signing keys not refreshed")
            return False
        self._loaded = True
        return True
