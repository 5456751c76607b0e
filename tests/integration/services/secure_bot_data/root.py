"""The vault's administrator, for looking behind the service's back and for taking the vault away.

Paths are given with the product's own names of mounts; in a vault that others use too, they lead to those of this run.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from cli.child import Child
from cli.embedded import EmbeddedMesh
from cli.layout import DataDir
from cli.registry import Service
from cli.setup.vault_init import health
from cli.setup.vault_policies import role_name
from mesh.vault_names import VaultNames
from tests.integration.mesh.vault.existing import WHY_SKIPPED

UNSEALS_ITSELF_SECONDS: Final = 6.0


class Root:
    """Speaks plain HTTP with an administrator's token."""

    def __init__(self, address: str, authority: Path, token: str, names: VaultNames) -> None:
        self._address = address
        self._authority = authority
        self._headers = {"X-Vault-Token": token}
        self._names = names

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A request as root; fails the test when it fails."""
        response = requests.request(
            method,
            f"{self._address}/v1/{self._here(path)}",
            json=body,
            headers=self._headers,
            verify=str(self._authority),
            timeout=10,
        )
        assert response.ok, (method, path, response.status_code)
        return response.json() if response.content else {}

    async def kv(self, method: str, bot_id: str, name: str, body: object = None) -> Any:
        """Reads or writes a secret past the service."""
        path = f"{VaultNames.kv_mount}/data/bots/{bot_id}/{name}"
        return await asyncio.to_thread(self.call, method, path, body)

    async def seal(self) -> None:
        """From now on the vault answers 503 until it is restarted. Skips the test where that would hit others."""
        pytest.skip(WHY_SKIPPED)

    async def restart(self) -> None:
        """Ends the server's process and waits until it is there again. Skips the test where that would hit others."""
        pytest.skip(WHY_SKIPPED)

    def environment(self, data: DataDir) -> dict[str, str]:
        """What leads the service to this vault."""
        own = "secure_bot_data"
        return {
            "VIVESPHERE_VAULT_ADDR": self._address,
            "VIVESPHERE_VAULT_CA_FILE": str(self._authority),
            "VIVESPHERE_VAULT_KV_MOUNT": self._names.kv_mount,
            "VIVESPHERE_VAULT_TRANSIT_MOUNT": self._names.transit_mount,
            "VIVESPHERE_VAULT_AUTH_MOUNT": self._names.approle_mount,
            "VIVESPHERE_VAULT_ROLE_ID_FILE": str(data.secret(own, "vault_role_id")),
            "VIVESPHERE_VAULT_SECRET_ID_FILE": str(data.secret(own, "vault_secret_id")),
        }

    def remove(self, services: Sequence[Service]) -> None:
        """Takes away everything that has names of this run."""
        names = self._names
        self.call("DELETE", f"sys/auth/{names.approle_mount}")
        self.call("DELETE", f"sys/mounts/{names.kv_mount}")
        self.call("DELETE", f"sys/mounts/{names.transit_mount}")
        for service in services:
            self.call("DELETE", f"sys/policies/acl/{role_name(service, names)}")

    def _here(self, path: str) -> str:
        mount, slash, rest = path.partition("/")
        named = {
            VaultNames.kv_mount: self._names.kv_mount,
            VaultNames.transit_mount: self._names.transit_mount,
        }
        return f"{named.get(mount, mount)}{slash}{rest}"


class OwnServer(Root):
    """Of the engines' own vault, which may be sealed and restarted."""

    def __init__(self, engines: EmbeddedMesh) -> None:
        keys = json.loads(engines.data.secret("setup", "vault_keys.json").read_text(encoding="utf-8"))
        authority = engines.data.tls_files("setup").ca_file
        super().__init__(engines.vault_address, authority, keys["root_token"], VaultNames())
        self._engines = engines

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
            while await asyncio.to_thread(health, self._address, self._authority) != status:
                await asyncio.sleep(0.1)
