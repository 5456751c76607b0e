"""The vault that VAULT_ADDR names, for running these suites against another server than the one from the wheel.

    VAULT_ADDR=https://vault:8200 VAULT_TOKEN_FILE=/run/admin-token VAULT_CACERT=/etc/ca.pem pytest tests/integration/mesh/vault

Everything is made under names of one run and removed afterwards. Tests that stop, seal or restart the server are skipped.
"""

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import requests.certs

from mesh.vault_names import VaultNames

WHY_SKIPPED = "it stops, seals or restarts the server, and VAULT_ADDR names one that others use"


@dataclass(frozen=True)
class Existing:
    """Where it is and who administers it."""

    address: str
    ca_file: Path
    token: str = field(repr=False)


def existing_vault() -> Existing | None:
    """The vault of VAULT_ADDR, None when that is not set. Raises KeyError without VAULT_TOKEN_FILE."""
    address = os.environ.get("VAULT_ADDR")
    if not address:
        return None
    authority = os.environ.get("VAULT_CACERT") or requests.certs.where()
    token = Path(os.environ["VAULT_TOKEN_FILE"]).read_text(encoding="utf-8").strip()
    return Existing(address.rstrip("/"), Path(authority), token)


def names_of_this_run() -> VaultNames:
    """Names that nobody else uses."""
    mark = f"test-{secrets.token_hex(4)}"
    return VaultNames(
        kv_mount=f"{mark}-kv",
        transit_mount=f"{mark}-transit",
        approle_mount=f"{mark}-approle",
        role_prefix=mark,
    )
