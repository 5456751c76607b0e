"""The public keys that access tokens are checked with: a cached copy of authentication's key set (RFC 7517).

Refreshed on a schedule, so that a new key is known before it signs; at once when a key is given up as compromised, which is never
used again whatever a later key set says; and once more when a token names an unknown `kid`, but then at most once a minute, so that
forged tokens cannot make a storm of fetches. A failed refresh keeps the old keys.

A key set is taken whole or not at all: one entry that is not exactly an Ed25519 signature key under its own thumbprint spoils it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError, Unavailable
from mesh.identity.strict import decode_base64url, read_object
from mesh.identity.thumbprint import thumbprint
from mesh.tasks import pause_or_stop
from vivesphere.authentication.v1.revocation_pb2 import REVOCATION_KIND_SIGNING_KEY, Revocation

REFRESH_INTERVAL = timedelta(minutes=5)
UNKNOWN_KEY_INTERVAL = timedelta(minutes=1)
FIRST_RETRY = timedelta(milliseconds=200)
LONGEST_RETRY = timedelta(seconds=10)
MAX_KEYS = 16
KEY_BYTES: Final = 32

_KIND: Final = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}
_REQUIRED: Final = frozenset({*_KIND, "kid", "x"})
_OPTIONAL: Final = frozenset({"key_ops"})

# The curve of RFC 8032 section 5.1: -x² + y² = 1 + d x² y² modulo p.
FIELD_PRIME: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, FIELD_PRIME) % FIELD_PRIME
SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        FIELD_PRIME - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)
"""y of the eight points whose order divides 8: for such a key everybody can make signatures."""

Fetch = Callable[[], Awaitable[bytes]]


def parse_jwks(document: bytes) -> dict[str, Ed25519PublicKey]:
    """Ed25519 signing keys by `kid` out of a JWKS document. Raises ValueError if it is not one that we accept whole."""
    document_object = read_object(document)
    entries = document_object.get("keys")
    if document_object.keys() != {"keys"} or not isinstance(entries, list):
        raise ValueError("not a key set")
    if not 1 <= len(entries) <= MAX_KEYS:
        raise ValueError("no key, or too many")
    keys = dict(map(_parse_key, entries))
    if len(keys) != len(entries):
        raise ValueError("a key twice")
    return keys


def _parse_key(entry: Any) -> tuple[str, Ed25519PublicKey]:
    if not isinstance(entry, dict) or entry.keys() - _OPTIONAL != _REQUIRED:
        raise ValueError("a key with members that it must not have, or without some that it must")
    if any(entry[name] != value for name, value in _KIND.items()):
        raise ValueError("a key that is not for Ed25519 signatures")
    if entry.get("key_ops", ["verify"]) != ["verify"]:
        raise ValueError("a key that is for more than to verify")
    if not isinstance(entry["x"], str):
        raise ValueError("a key that is no text")  # noqa: TRY004 - the document is judged, not a type
    raw = decode_base64url(entry["x"])
    if len(raw) != KEY_BYTES or not _is_sound(raw):
        raise ValueError("not a point that can be trusted")
    if entry["kid"] != thumbprint(raw):
        raise ValueError("a key under a name that is not its own")
    return entry["kid"], Ed25519PublicKey.from_public_bytes(raw)


def _is_sound(raw: bytes) -> bool:
    """Whether this is the one spelling of a point on the curve that is not of small order."""
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= FIELD_PRIME or y in SMALL_ORDER:
        return False
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, FIELD_PRIME) % FIELD_PRIME
    return pow(x_squared, (FIELD_PRIME - 1) // 2, FIELD_PRIME) == 1


class KeySource:
    """Keys by `kid`. `current` never blocks; `refresh_for` waits for one fetch at most."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._given_up: set[str] = set()
        self._hurry = asyncio.Event()
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
            if key_id not in self._keys and key_id not in self._given_up and not recent:
                self._last_unknown = now
                try:
                    await self._refresh()
                except asyncio.CancelledError:
                    self._hurry.set()  # a caller that hangs up must not use up the minute's one look
                    raise
        return self._keys

    def give_up(self, key_id: str) -> None:
        """Never verify with this key again, and read the set at once: the one that signs instead may be in it for the first time.

        Remembered as long as the process lives, since a replica that lags may publish the key a while longer; there are a handful.
        """
        if key_id in self._given_up:
            return
        self._given_up.add(key_id)
        self._keys = self._without_given_up(self._keys)
        self._hurry.set()

    def revoked(self, revocation: Revocation) -> None:
        """See `mesh.identity.revocations.Listener`."""
        if revocation.kind == REVOCATION_KIND_SIGNING_KEY:
            self.give_up(revocation.id)

    def started_over(self) -> None:
        """See `mesh.identity.revocations.Listener`."""

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        retry = FIRST_RETRY
        while True:
            self._hurry.clear()
            async with self._lock:
                fetched = await self._refresh()
            pause = REFRESH_INTERVAL if fetched else retry
            retry = FIRST_RETRY if fetched else min(retry * 2, LONGEST_RETRY)
            await pause_or_stop(pause, self._hurry, self._clock)

    async def _refresh(self) -> bool:
        try:
            keys = parse_jwks(await self._fetch())
        except MeshError as error:
            logger.bind(reason=error.reason).debug("signing keys not refreshed")
            return False
        except ValueError as error:
            logger.bind(fault=str(error)).warning("key set refused, the last good one stays")
            return False
        self._keys = self._without_given_up(keys)
        self._loaded = True
        return True

    def _without_given_up(self, keys: dict[str, Ed25519PublicKey]) -> dict[str, Ed25519PublicKey]:
        return {key_id: key for key_id, key in keys.items() if key_id not in self._given_up}
