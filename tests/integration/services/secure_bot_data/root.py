"""The vault's administrator, for looking behind the service's back and for taking the vault away."""

import asyncio
import json
import os
import signal
import time
from typing import Any, Final

import requests

from cli.child import Child
from cli.embedded import EmbeddedMesh
from cli.setup.vault_init import health

UNSEALS_ITSELF_SECONDS: Final = 6.0


class Root:
    """Speaks plain HTTP with the root token."""

    def __init__(self, engines: EmbeddedMesh) -> None:
        self._engines = engines
        self._authority = engines.data.tls_files("setup").ca_file
        keys = json.loads(engines.data.secret("setup", "vault_keys.json").read_text(encoding="utf-8"))
        self._headers = {"X-Vault-Token": keys["root_token"]}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A request as root; fails the test when it fails."""
        response = requests.request(
            method,
            f"{self._engines.vault_address}/v1/{path}",
            json=body,
            headers=self._headers,
            verify=str(self._authority),
            timeout=10,
        )
        assert response.ok, (method, path, response.status_code)
        return response.json() if response.content else {}

    async def kv(self, method: str, bot_id: str, name: str, body: object = None) -> Any:
        """Reads or writes a secret past the service."""
        path = f"vivesphere-kv/data/bots/{bot_id}/{name}"
        return await asyncio.to_thread(self.call, method, path, body)

    async def seal(self) -> None:
        """From now on the vault answers 503 until it is restarted: the embedded seal opens at start only.

        OpenBao's start-up tries to unseal once more after five seconds when it found itself uninitialised at first, and would
        undo a seal made before that.
        """
        await asyncio.sleep(self._child().started_at + UNSEALS_ITSELF_SECONDS - time.time())
        await asyncio.to_thread(self.call, "PUT", "sys/seal")
        await self._becomes(503)

    async def restart(self) -> None:
        """Ends the server's process and waits until the supervisor has it up and unsealed again."""
        pid = self._child().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        # Python's ssl leaks a socket that is reset while it connects, so nobody may knock before the process is gone.
        async with asyncio.timeout(30):
            while self._child().pid == pid:
                await asyncio.sleep(0.05)
        await self._becomes(200)

    def _child(self) -> Child:
        return next(child for child in self._engines.supervisor.children if child.spec.name == "openbao")

    async def _becomes(self, status: int) -> None:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(health, self._engines.vault_address, self._authority) != status:
                await asyncio.sleep(0.1)
