"""The vault: HashiCorp Vault or OpenBao over hvac, for any service of the mesh.

owns     the HTTP session and its worker threads, the token's life, error meanings, the building of paths
gives    `VaultClient` with `kv(...)` (KV version 2: versions, compare-and-set) and `transit(...)` (encryption as a service)
never    follows a redirect, retries a write whose outcome is unknown, or puts a vault's answer into an error or a log

From the outside in: `opening` makes a `client` from a process's settings; it joins `login` (who we are, by `credentials`), `link` (is it
there, who may wait) and the two engines `kv` and `transit` (`coalescing` shares its requests among callers); below, `workers` bounds the
threads, `wire` is the HTTP exchange that hvac's API classes speak through, `verdicts` says
what an answer means, `paths` is the only place where a path is made.
"""

from mesh.vault.client import VaultClient
from mesh.vault.coalescing import CoalescedKey
from mesh.vault.credentials import AppRole, Credentials, Kubernetes, WrappedAppRole
from mesh.vault.kv import KvStore, SecretMetadata, SecretVersion, VersionInfo
from mesh.vault.link import VaultState
from mesh.vault.opening import open_vault
from mesh.vault.transit import (
    KeyVersionRetired,
    SealedItem,
    Signed,
    Transit,
    TransitItem,
    TransitKey,
    key_version,
)

__all__ = [
    "AppRole",
    "CoalescedKey",
    "Credentials",
    "KeyVersionRetired",
    "Kubernetes",
    "KvStore",
    "SealedItem",
    "SecretMetadata",
    "SecretVersion",
    "Signed",
    "Transit",
    "TransitItem",
    "TransitKey",
    "VaultClient",
    "VaultState",
    "VersionInfo",
    "WrappedAppRole",
    "key_version",
    "open_vault",
]
