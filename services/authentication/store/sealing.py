"""Private keys sealed by this service's own Transit key; only its AppRole may open them."""

from mesh.vault import Transit


class TransitSealer:
    """Implements `ports.Sealer`. `key` is the name of the Transit key."""

    def __init__(self, transit: Transit, key: str) -> None:
        self._transit = transit
        self._key = key

    async def seal(self, plaintext: bytes, bound_to: bytes) -> str:
        return await self._transit.encrypt(self._key, plaintext, associated_data=bound_to)

    async def open(self, sealed: str, bound_to: bytes) -> bytes:
        return await self._transit.decrypt(self._key, sealed, associated_data=bound_to)
