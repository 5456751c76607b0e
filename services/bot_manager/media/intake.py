"""Takes files in: stores them piece by piece as they come, examines them, and only then lets them be seen.

Refused as early as can be: a declared size before the first byte, a type that X does not take at its first bytes, a picture beyond X's
limit at the byte that is too many. At most one piece is in memory.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import InvalidArgument, MeshError, OutOfRange
from services.bot_manager.domain.media import CHUNK_BYTES, MAX_BYTES, Facts, MediaState, Medium
from services.bot_manager.domain.model import Bot
from services.bot_manager.media.inspection import HEAD_BYTES, Inspector, check_early
from services.bot_manager.store.ports import RequestKey

ABANDONED: Final = timedelta(hours=1)
"""How long an upload may stand still before it is forgotten."""


class Bots(Protocol):
    """The part of BotStore that is used."""

    async def get(self, bot_id: str) -> Bot: ...


class Library(Protocol):
    """The part of the store that is used; see `store/library.py`."""

    async def begin(self, medium_id: str, bot_id: str, now: datetime, until: datetime) -> None: ...
    async def add(self, medium_id: str, index: int, data: bytes, until: datetime) -> None: ...
    async def complete(self, medium: Medium, key: RequestKey | None) -> Medium: ...
    async def abandon(self, medium_id: str) -> None: ...
    async def recall(self, key: RequestKey, now: datetime) -> Medium | None: ...
    async def read(self, medium_id: str, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Announced:
    """What a client says of the file that it sends. `id` is the one that the file gets; 0 and "" mean not said."""

    id: str
    bot_id: str = ""
    filename: str = ""
    alt_text: str = ""
    size_bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file in the library as a Source."""

    library: Library
    medium_id: str
    size: int

    async def read(self, offset: int, length: int) -> bytes:
        """See Source."""
        return await self.library.read(self.medium_id, offset, length)


class Intake:
    """`keep` is the setting of the moment."""

    def __init__(
        self, library: Library, bots: Bots, inspector: Inspector, clock: Clock, keep: Callable[[], timedelta]
    ) -> None:
        self._library = library
        self._bots = bots
        self._inspector = inspector
        self._clock = clock
        self._keep = keep

    async def take(
        self, announced: Announced, pieces: AsyncIterator[bytes], key: RequestKey | None
    ) -> Medium:
        """Store one file; a repeat with the same key and bytes answers the first result.

        Raises InvalidArgument (MEDIA_UNSUPPORTED, INVALID_FIELD, IDEMPOTENCY_KEY_REUSED), OutOfRange (MESSAGE_TOO_LARGE), NotFound
        (BOT_NOT_FOUND).
        """
        if announced.bot_id:
            await self._bots.get(announced.bot_id)
        first = await self._library.recall(key, self._clock.now()) if key else None
        if first is not None:
            return await _same(first, pieces)
        receipt = _Receipt(announced, self._library, self._clock)
        try:
            async for piece in pieces:
                await receipt.add(piece)
            await receipt.finish()
            facts = await self._inspector.inspect(Stored(self._library, announced.id, receipt.size))
            medium = self._medium(announced, receipt, facts)
            stored = await self._library.complete(medium, key)
        except MeshError:
            with suppress(MeshError):  # it is forgotten in time all the same
                await receipt.abandon()
            raise
        if stored.sha256 != medium.sha256:
            raise _another_file()
        return stored

    def _medium(self, announced: Announced, receipt: "_Receipt", facts: Facts) -> Medium:
        now = self._clock.now()
        return Medium(
            id=announced.id,
            bot_id=announced.bot_id,
            filename=announced.filename,
            content_type=facts.content_type,
            kind=facts.kind,
            state=MediaState.READY,
            size_bytes=receipt.size,
            sha256=receipt.sha256,
            width=facts.width,
            height=facts.height,
            duration=facts.duration,
            alt_text=announced.alt_text,
            create_time=now,
            expire_time=now + self._keep(),
        )


class _Receipt:
    """A file that is coming in."""

    def __init__(self, announced: Announced, library: Library, clock: Clock) -> None:
        self._announced = announced
        self._library = library
        self._clock = clock
        self._digest = hashlib.sha256()
        self._head = b""
        self._buffer = bytearray()
        self._pieces = 0
        self._begun = False
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what has come so far."""
        return self._digest.hexdigest()

    async def add(self, piece: bytes) -> None:
        """Raises what is wrong with the file as soon as it is."""
        self.size += len(piece)
        check_total(self.size)
        self._digest.update(piece)
        self._head += piece[: HEAD_BYTES - len(self._head)]
        if len(self._head) == HEAD_BYTES:
            check_early(self._head, max(self.size, self._announced.size_bytes))
        self._buffer += piece
        while len(self._buffer) >= CHUNK_BYTES:
            await self._store(bytes(memoryview(self._buffer)[:CHUNK_BYTES]))
            del self._buffer[:CHUNK_BYTES]

    async def finish(self) -> None:
        """Store the rest. Raises InvalidArgument (INVALID_FIELD) if the bytes are not those that were announced."""
        announced = self._announced
        if self.size == 0:
            raise InvalidArgument("INVALID_FIELD", "the file is empty", field="file")
        if announced.size_bytes and announced.size_bytes != self.size:
            told = f"{self.size} bytes came, {announced.size_bytes} were announced"
            raise InvalidArgument("INVALID_FIELD", told, field="size_bytes")
        if announced.sha256 and announced.sha256 != self.sha256:
            raise InvalidArgument("INVALID_FIELD", "the bytes have another SHA-256", field="sha256")
        if len(self._head) < HEAD_BYTES:
            check_early(self._head, self.size)
        if self._buffer:
            await self._store(bytes(self._buffer))
            self._buffer.clear()

    async def abandon(self) -> None:
        """Drop what was stored."""
        if self._begun:
            await self._library.abandon(self._announced.id)

    async def _store(self, piece: bytes) -> None:
        now = self._clock.now()
        if not self._begun:
            await self._library.begin(self._announced.id, self._announced.bot_id, now, now + ABANDONED)
            self._begun = True
        await self._library.add(self._announced.id, self._pieces, piece, now + ABANDONED)
        self._pieces += 1


async def _same(first: Medium, pieces: AsyncIterator[bytes]) -> Medium:
    """The first result, if the bytes are those of then."""
    digest, size = hashlib.sha256(), 0
    async for piece in pieces:
        size += len(piece)
        check_total(size)
        digest.update(piece)
    if digest.hexdigest() != first.sha256:
        raise _another_file()
    return first


def check_total(size: int) -> None:
    """Raises OutOfRange (MESSAGE_TOO_LARGE) for more bytes than any file may have."""
    if size > MAX_BYTES:
        raise OutOfRange(
            "MESSAGE_TOO_LARGE", f"a file may have at most {MAX_BYTES} bytes (512 MB)", field="file"
        )


def _another_file() -> InvalidArgument:
    return InvalidArgument(
        "IDEMPOTENCY_KEY_REUSED", "request_id was used for another file", field="request_id"
    )
