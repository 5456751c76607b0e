"""The vault client's refusals, with the reason that its state tells."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from mesh.errors import Unavailable
from mesh.vault import VaultClient, VaultState

_AWAY: Final = {
    VaultState.SEALED: ("VAULT_SEALED", "the secret store is sealed"),
    VaultState.DENIED: ("VAULT_PERMISSION_LOST", "the secret store does not let this service in"),
}


@asynccontextmanager
async def precisely(client: VaultClient) -> AsyncIterator[None]:
    """Turns Unavailable (VAULT_UNAVAILABLE) of the block into VAULT_SEALED or VAULT_PERMISSION_LOST where that is the cause."""
    try:
        yield
    except Unavailable as error:
        reason, message = _AWAY.get(client.state, (error.reason, error.message))
        told = Unavailable(reason, message, retry_after=error.retry_after)
    else:
        return
    raise told
