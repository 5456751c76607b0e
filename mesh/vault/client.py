"""The client of one vault for one service.

A call takes a worker thread, a token and the first address that answers; all of it within one deadline. A 403 makes the client
ask whether its token still lives: if not, it logs in once and repeats the call; if so, the policy forbids it and no login helps.
`run` is the background loop: it logs in at start, renews the token, and probes a vault that went away, so that `state`
tells the truth without traffic. Nothing here fails because the vault is away at start.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from loguru import logger

from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.vault.credentials import Credentials
from mesh.vault.kv import KvStore
from mesh.vault.link import AWAY, Link, VaultState
from mesh.vault.login import Login
from mesh.vault.transit import Transit
from mesh.vault.verdicts import FORBIDDEN, compromised, permission_lost
from mesh.vault.wire import Answer, Request, open_session
from mesh.vault.workers import Workers
from mesh.vault_names import VaultNames

TIMEOUT: Final = timedelta(seconds=3)
POOL_SIZE: Final = 16
QUEUE_SIZE: Final = 64
TICK: Final = timedelta(seconds=0.5)
FAREWELL: Final = timedelta(seconds=1)

_system_random = random.SystemRandom()


class VaultClient:
    """Serves `kv(...)` and `transit(...)`. Spawn `run()`; `close()` at the end. Make it inside of a running event loop."""

    def __init__(
        self,
        addresses: str | Sequence[str],
        ca_file: Path,
        credentials: Credentials,
        *,
        clock: Clock,
        pool_size: int = POOL_SIZE,
        queue_size: int = QUEUE_SIZE,
        timeout: timedelta = TIMEOUT,
        kv_mount: str = VaultNames.kv_mount,
        transit_mount: str = VaultNames.transit_mount,
        jitter: Callable[[], float] = _system_random.random,
    ) -> None:
        """`addresses`: https URLs, a sequence or separated by commas. `timeout` bounds a whole call, queueing and login included.

        Raises ValueError for addresses that are not https (http only on the loopback) and a missing CA bundle.
        """
        urls = addresses.split(",") if isinstance(addresses, str) else list(addresses)
        self._clock = clock
        self._timeout = timeout
        self._workers = Workers(pool_size, queue_size)
        self._session = open_session(str(ca_file), pool_size)
        self._link = Link(urls, self._session, self._workers, self._clock, jitter)
        self._login = Login(self._link, credentials, self._clock, jitter)
        self._kv_mount = kv_mount
        self._transit_mount = transit_mount
        if any(url.strip().startswith("https:") for url in urls) and not ca_file.is_file():
            raise ValueError(f"{ca_file}: no such CA bundle for the vault")

    @property
    def state(self) -> VaultState:
        """READY when the last exchange was answered, there is a token, and no sign that somebody else may log in as we do."""
        if self._link.state is not VaultState.READY:
            return self._link.state
        if self._login.alarm:
            return VaultState.DENIED
        if self._login.held is not None:
            return VaultState.READY
        return VaultState.DENIED if self._login.denied else VaultState.UNREACHABLE

    def check(self) -> None:
        """For health: raises Unavailable with the reason that the state tells, unless it is READY. Asks nobody."""
        if self._login.alarm:
            raise compromised()
        if (state := self.state) is not VaultState.READY:
            raise AWAY[state]()

    def kv(self, prefix: str) -> KvStore:
        """Versioned secrets below `prefix` of the KV version 2 mount."""
        return KvStore(self.call, self._kv_mount, prefix)

    def transit(self) -> Transit:
        """Encryption with keys that never leave the vault."""
        return Transit(self.call, self._transit_mount)

    async def call(self, request: Request, *, repeatable: bool) -> Answer:
        """One request under our token; see `Link.ask` for errors. The answer's status may still be 400, 404, 405 or 413."""
        self._link.admit()
        deadline = self._deadline(self._timeout)
        held = await self._login.token(deadline)
        answer = await self._link.ask(request, held.value, deadline, repeatable=repeatable)
        if answer.status == FORBIDDEN and not await self._login.known(held, deadline):
            held = await self._login.replace(held, deadline)
            answer = await self._link.ask(request, held.value, deadline, repeatable=repeatable)
        if answer.status == FORBIDDEN:
            logger.bind(status=answer.status).warning("vault policy forbids a request")
            raise permission_lost()
        return answer

    async def run(self) -> None:
        """Keeps the token alive and the state true until cancelled. For the service's task set to spawn."""
        while True:
            await self._tend()
            await self._clock.sleep(TICK)

    async def close(self) -> None:
        """Gives the token back when the vault is there, and ends threads and connections. The client is of no use afterwards."""
        try:
            if self._link.state is VaultState.READY:
                await self._login.revoke(self._deadline(FAREWELL))
        except MeshError:
            logger.debug("vault token not given back")
        finally:
            self._workers.close()
            self._session.clear()

    async def _tend(self) -> None:
        if self._link.left or self._login.left:
            return
        try:
            self._link.admit()
            deadline = self._deadline(self._timeout)
            await self._login.tend(deadline)
            if self._link.state is not VaultState.READY:
                await self._probe(deadline)
        except MeshError:
            # Its cause is in the state and was logged when the state changed; the next tick tries again.
            return

    async def _probe(self, deadline: float) -> None:
        held = await self._login.token(deadline)
        if not await self._login.known(held, deadline):
            await self._login.replace(held, deadline)

    @staticmethod
    def _deadline(timeout: timedelta) -> float:
        return time.monotonic() + timeout.total_seconds()
