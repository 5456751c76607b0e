"""Signing secrets, encrypted by secure_bot_data: the database holds what only this service can have decrypted, for that webhook only."""

import secrets
from collections import OrderedDict
from datetime import timedelta
from typing import Any, Final

from mesh.clock import Clock
from mesh.secret import Secret
from services.bot_manager.sealing import MeshSealer
from services.bot_manager.webhooks.signing import PREFIX

KIND: Final = "webhooks"
REMEMBERED: Final = 500
REMEMBERED_FOR: Final = timedelta(minutes=10)
SECRET_BYTES: Final = 32


def new_secret() -> Secret:
    """256 random bits."""
    return Secret(PREFIX + secrets.token_urlsafe(SECRET_BYTES))


class Sealer:
    """`stub` is one of BotSecretService. What was opened is remembered for a while, so that not every delivery asks."""

    def __init__(self, stub: Any, clock: Clock) -> None:
        self._sealer = MeshSealer(stub, KIND)
        self._clock = clock
        self._opened: OrderedDict[tuple[str, str], tuple[float, Secret]] = OrderedDict()

    async def seal(self, webhook_id: str, secret: Secret) -> str:
        """The ciphertext. Raises Unavailable (VAULT_UNAVAILABLE and the like)."""
        return await self._sealer.seal(secret, webhook_id)

    async def open(self, webhook_id: str, ciphertext: str) -> Secret:
        """The secret. Raises Unavailable, InvalidArgument (DECRYPTION_FAILED)."""
        key, now = (webhook_id, ciphertext), self._clock.monotonic()
        found = self._opened.get(key)
        if found is not None and now - found[0] < REMEMBERED_FOR.total_seconds():
            return found[1]
        secret = await self._sealer.open(ciphertext, webhook_id)
        self._opened[key] = now, secret
        self._opened.move_to_end(key)
        while len(self._opened) > REMEMBERED:
            self._opened.popitem(last=False)
        return secret
