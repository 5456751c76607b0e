"""The signing keys in use: made here, sealed by the vault, opened once and kept in memory, replaced on schedule or on demand.

Everything comes from the store; the vault is asked only to seal a new key and to open one that this process has not opened yet. So
with the vault away a running process goes on signing, and one that starts then serves the public keys and answers Unavailable
to whoever wants to sign in, until the vault is back. Any number of replicas run the schedule; each writes under the keys' lock what the
schedule asks for at that moment, so the second finds nothing left to do.

    run:  read keys ─▶ something due? do it under the lock ─▶ open what signs now or next ─▶ wait, or be woken ─┐
            ▲───────────────────────────────────────────────────────────────────────────────────────────────────┘
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from loguru import logger

from mesh.clock import Clock
from mesh.errors import InvalidArgument, MeshError, Unavailable
from mesh.identity.thumbprint import thumbprint
from mesh.tasks import pause_or_stop
from services.authentication.domain.events import KEY_MADE, KEY_ROTATED, Event
from services.authentication.domain.revocation import RevocationKind
from services.authentication.domain.signing import (
    LEAD,
    KeyState,
    SigningKey,
    binding,
    due,
    given_up,
    jwks,
    private_bytes,
)
from services.authentication.domain.tokens import Signer
from services.authentication.store.ports import Sealer, Store, Unit

REFRESH_INTERVAL: Final = timedelta(seconds=30)
RETRY_INTERVAL: Final = timedelta(seconds=1)
_OPENED: Final = frozenset({KeyState.ACTIVE, KeyState.NEXT})


class Keyring:
    """Signs, and knows what verifies. `run` keeps it fresh."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        interval: Callable[[], timedelta],
        clock: Clock,
        generate: Callable[[], Ed25519PrivateKey] = Ed25519PrivateKey.generate,
    ) -> None:
        """`interval` gives how long a key signs before the next one does."""
        self._store = store
        self._sealer = sealer
        self._interval = interval
        self._clock = clock
        self._generate = generate
        self._keys: tuple[SigningKey, ...] = ()
        self._opened: dict[str, Signer] = {}
        self._signer: Signer | None = None
        self._refreshing = asyncio.Lock()
        self._woken = asyncio.Event()

    def signer(self) -> Signer:
        """The open key that signs now. Raises Unavailable (VAULT_UNAVAILABLE)."""
        if self._signer is None:
            raise Unavailable(
                "VAULT_UNAVAILABLE",
                "the signing key cannot be opened while the vault is away",
                retry_after=RETRY_INTERVAL,
            )
        return self._signer

    def verifiers(self) -> dict[str, Ed25519PublicKey]:
        """Public keys by id."""
        return {key.id: key.verifier() for key in self._keys}

    async def document(self) -> bytes:
        """The public key set (RFC 7517). Raises Unavailable while there is no key at all."""
        if not self._keys:
            await self._read()
        if not self._keys:
            self.signer()
        return jwks(self._keys)

    async def check(self) -> None:
        """Raises Unavailable unless tokens can be signed."""
        self.signer()

    def wake(self) -> None:
        """Read the keys now: somebody has changed them."""
        self._woken.set()

    async def refresh(self) -> None:
        """Read the keys, do what is due, open the keys that sign now or next. Raises Unavailable."""
        async with self._refreshing:
            await self._read()
            now = self._clock.now()
            wanted = due(self._keys, self._interval(), now)
            if not self._keys or wanted.changed or wanted.make_for is not None:
                await self._do_what_is_due(now)
                await self._read()
            await self._open_keys()

    async def rotate(self) -> tuple[SigningKey, ...]:
        """Let a new key sign once every cache knows it, unless one waits already. The keys of the set. Raises Unavailable."""
        await self._insert(KeyState.NEXT, self._clock.now() + LEAD)
        await self.refresh()
        return self._keys

    async def give_up(self) -> tuple[SigningKey, ...]:
        """A key may be known to others: a new one signs at once and all older ones are retired and revoked. The new and the retired
        keys. Raises Unavailable, and then nothing has changed."""
        now = self._clock.now()
        made, signer = await self._make(KeyState.ACTIVE, now)
        async with self._store.transaction() as unit:
            await unit.keys.lock()
            retired = [given_up(key, now) for key in await unit.keys.list()]
            for key in retired:
                await unit.keys.update(key)
            await unit.keys.insert(made)
            await unit.note(Event(KEY_MADE, f"signingKeys/{made.id}"))
            await unit.note(Event(KEY_ROTATED, f"signingKeys/{made.id}"))
            await unit.revocations.add(RevocationKind.SIGNING_KEY, [key.id for key in retired], now)
        logger.bind(key_id=made.id, retired=len(retired)).warning("signing keys given up")
        self._opened[made.id] = signer
        await self.refresh()
        return (*self._keys, *retired)

    async def run(self) -> None:
        """Refresh for ever; every second while something is missing."""
        while True:
            self._woken.clear()
            pause = REFRESH_INTERVAL
            try:
                await self.refresh()
            except MeshError as error:
                logger.bind(reason=error.reason).warning("signing keys not refreshed")
                pause = RETRY_INTERVAL
            await pause_or_stop(pause, self._woken, self._clock)

    async def _read(self) -> None:
        async with self._store.read() as unit:
            self._keys = tuple(await unit.keys.list())

    async def _do_what_is_due(self, now: datetime) -> None:
        """Under the lock and from what is stored then: another replica may have been faster."""
        if not self._keys:
            await self._insert(KeyState.ACTIVE, now)
        async with self._store.transaction() as unit:
            await unit.keys.lock()
            wanted = due(await unit.keys.list(), self._interval(), now)
            for key in wanted.changed:
                await unit.keys.update(key)
                logger.bind(key_id=key.id, state=key.state.value).info("signing key changed state")
                if key.state is KeyState.ACTIVE:
                    await unit.note(Event(KEY_ROTATED, f"signingKeys/{key.id}"))
        if wanted.make_for is not None:
            await self._insert(KeyState.NEXT, wanted.make_for)

    async def _insert(self, state: KeyState, activate_time: datetime) -> None:
        """Make a key, unless there is one in this state."""
        if any(key.state is state for key in self._keys):
            return
        made, signer = await self._make(state, activate_time)
        async with self._store.transaction() as unit:
            await unit.keys.lock()
            if not await _may_enter(unit, state) or not await unit.keys.insert(made):
                return
            await unit.note(Event(KEY_MADE, f"signingKeys/{made.id}"))
        logger.bind(key_id=made.id, state=state.value).info("signing key made")
        self._opened[made.id] = signer

    async def _make(self, state: KeyState, activate_time: datetime) -> tuple[SigningKey, Signer]:
        private = self._generate()
        public = private.public_key().public_bytes_raw()
        key_id = thumbprint(public)
        sealed = await self._sealer.seal(private_bytes(private), binding(key_id))
        key = SigningKey(key_id, state, public, sealed, self._clock.now(), activate_time)
        return key, Signer(key_id, private)

    async def _open_keys(self) -> None:
        """The one that signs, and ahead of time the one that will; what is gone is forgotten."""
        kept = {key.id for key in self._keys}
        self._opened = {key_id: signer for key_id, signer in self._opened.items() if key_id in kept}
        if self._signer is not None and self._signer.key_id not in kept:
            self._signer = None  # retired: whatever it signs is refused
        for key in sorted(self._keys, key=lambda key: key.state is not KeyState.ACTIVE):
            if key.state in _OPENED and key.id not in self._opened:
                self._opened[key.id] = await self._open(key)
            if key.state is KeyState.ACTIVE:
                self._signer = self._opened[key.id]

    async def _open(self, key: SigningKey) -> Signer:
        try:
            raw = await self._sealer.open(key.sealed_private_key, binding(key.id))
        except InvalidArgument:
            # Another vault than the one that sealed it. Nothing heals by itself, but the old key may come back with its vault.
            logger.bind(key_id=key.id).error("signing key does not open with this vault")
            raise Unavailable("VAULT_UNAVAILABLE", "the signing key does not open with this vault") from None
        private = Ed25519PrivateKey.from_private_bytes(raw)
        if thumbprint(private.public_key().public_bytes_raw()) != key.id:
            raise Unavailable("VAULT_UNAVAILABLE", "the sealed signing key is not the one of its row")
        logger.bind(key_id=key.id).info("signing key opened")
        return Signer(key.id, private)


async def _may_enter(unit: Unit, state: KeyState) -> bool:
    """Whether there is no key in the state yet; and no next one waits where none is active, since it would never be its turn."""
    states = [key.state for key in await unit.keys.list()]
    return state not in states and (state is KeyState.ACTIVE or KeyState.ACTIVE in states)
