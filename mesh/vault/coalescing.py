"""One Transit key for many callers at once: what arrives while a request is under way goes into the next one.

Encrypting and decrypting a secret is a request of its own to the vault, half of what reading one costs there. Under load a request carries
many items, since Transit takes batches; a caller that is alone waits for nobody. Each caller gets its own item or its own error.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from mesh.batching import Batcher
from mesh.errors import InvalidArgument, MeshError, OutOfRange
from mesh.tasks import together
from mesh.vault.transit import MAX_BATCH_BYTES, MAX_BATCH_ITEMS, SealedItem, Transit, TransitItem

Item = TypeVar("Item", TransitItem, SealedItem)
Result = TypeVar("Result", str, bytes)


class CoalescedKey:
    """One key of a Transit mount. `run` must be running. Errors of both methods are those of `Transit`."""

    def __init__(self, transit: Transit, key: str) -> None:
        self._transit = transit
        self._key = key
        self._encrypting = Batcher[TransitItem, str | MeshError](self._encrypt)
        self._decrypting = Batcher[SealedItem, bytes | MeshError](self._decrypt)

    async def run(self) -> None:
        """Send requests until cancelled."""
        await together(self._encrypting.run(), self._decrypting.run())

    async def encrypt(self, item: TransitItem) -> str:
        """The ciphertext of one plaintext."""
        return _own(await self._encrypting.submit(item))

    async def decrypt(self, item: SealedItem) -> bytes:
        """The plaintext. InvalidArgument when ciphertext, context and associated data do not belong together."""
        return _own(await self._decrypting.submit(item))

    async def _encrypt(self, items: Sequence[TransitItem]) -> list[str | MeshError]:
        return await _in_parts(
            items,
            lambda item: len(item.plaintext),
            lambda part: self._transit.encrypt_batch(self._key, part),
        )

    async def _decrypt(self, items: Sequence[SealedItem]) -> list[bytes | MeshError]:
        return await _in_parts(
            items,
            lambda item: len(item.ciphertext),
            lambda part: self._transit.decrypt_batch(self._key, part),
        )


def _own(result: Result | MeshError) -> Result:
    if isinstance(result, MeshError):
        raise result
    return result


async def _in_parts(
    items: Sequence[Item],
    size: Callable[[Item], int],
    send: Callable[[Sequence[Item]], Awaitable[list[Result]]],
) -> list[Result | MeshError]:
    """The results of all items, sent in as few requests as the vault takes."""
    return [result for part in _parts(items, size) for result in await _each(part, send)]


async def _each(
    part: Sequence[Item], send: Callable[[Sequence[Item]], Awaitable[list[Result]]]
) -> Sequence[Result | MeshError]:
    """A batch is refused whole for one bad item; then each is sent by itself, so that the others do not pay for it."""
    try:
        return await send(part)
    except (InvalidArgument, OutOfRange) as refusal:
        if len(part) == 1:
            return [refusal]
    return [result for item in part for result in await _each([item], send)]


def _parts(items: Sequence[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """The items in order, in as few requests as the vault takes."""
    part: list[Item] = []
    taken = 0
    for item in items:
        if part and (len(part) == MAX_BATCH_ITEMS or taken + size(item) > MAX_BATCH_BYTES):
            yield part
            part, taken = [], 0
        part.append(item)
        taken += size(item)
    if part:
        yield part
