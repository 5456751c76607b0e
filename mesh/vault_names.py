"""Where the mesh's things lie in a vault: one list of names and their defaults, for processes and for set-up.

Nothing else here, since the command line reads it at every start and `mesh.vault` loads an HTTP stack.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class VaultNames:
    """Names in the vault, each one path segment. Another installation on the same vault has others."""

    kv_mount: str = "vivesphere-kv"
    """Mount of the KV version 2 engine."""
    kv_prefix: str = "bots"
    """First segment of the path of every bot's secret there."""
    transit_mount: str = "vivesphere-transit"
    """Mount of the Transit engine."""
    approle_mount: str = "approle"
    """Mount of the AppRole auth method."""
    role_prefix: str = "vivesphere"
    """What names of AppRoles and policies begin with: `<role_prefix>-<service>`."""
