"""Streams as their watchers ask for them: where each begins, then `feed.follow`."""

from collections.abc import AsyncIterator

from mesh.clock import Clock
from services.configuration.domain.changes import Transaction
from services.configuration.domain.position import Lost, Start, not_kept, require_kept, start_of
from services.configuration.domain.snapshot import Snapshot
from services.configuration.feed import Event, Feed, Stop, Told, follow
from services.configuration.store.ports import Store


class Watching:
    """Begins streams."""

    def __init__(self, store: Store, feed: Feed, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock

    async def services(self, from_revision: int, history_id: str) -> AsyncIterator[Snapshot | Event]:
        """Everything for a service: a snapshot or what it missed, then what comes. Raises OutOfRange, Unavailable."""
        head = await self._feed.refresh()
        start = start_of(head, from_revision, history_id)
        position = from_revision
        if start is Start.RESYNC:
            yield Stop(Lost.HISTORY_REPLACED, head)
            return
        if start is Start.SNAPSHOT:
            snapshot = await self.snapshot()
            yield snapshot
            head, position = snapshot.head, snapshot.head.revision
            # The snapshot may be newer than what the feed has seen; a watcher is never ahead of its feed.
            await self._feed.refresh()
        async for event in follow(self._feed, position, head.history_id, self._clock):
            yield event

    async def people(self, from_revision: int) -> AsyncIterator[Event]:
        """For a person: a bookmark where the stream begins, then what comes. Raises OutOfRange, Unavailable."""
        head = await self._feed.refresh()
        position = from_revision or head.revision
        require_kept(head, position)
        yield Told(position, head.read_time)
        async for event in follow(self._feed, position, head.history_id, self._clock):
            if isinstance(event, Stop):
                raise not_kept(event.head, position)
            if isinstance(event, Transaction):
                position = event.revision
            yield event

    async def snapshot(self) -> Snapshot:
        """Everything in force now."""
        async with self._store.read() as reader:
            return Snapshot(
                head=await reader.log.head(),
                settings=tuple(await reader.settings.all()),
                roles=tuple(await reader.roles.all()),
                bindings=tuple(await reader.roles.bindings()),
            )
