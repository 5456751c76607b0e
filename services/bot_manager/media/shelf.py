"""Media as posts see them: whether those that a post names exist and are for its bot. Implements `making.Shelf`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from mesh.clock import Clock
from mesh.errors import NotFound
from services.bot_manager.domain.media import MediaFacts, Medium
from services.bot_manager.domain.model import Bot, Post

GRACE: Final = timedelta(hours=1)
"""How long a file stays at least after a post was held against it, so that it is there when the post is stored."""


class Library(Protocol):
    """The part of the store that is used; see `store/library.py`."""

    async def find(self, ids: Sequence[str]) -> Mapping[str, Medium]: ...
    async def keep(self, ids: Sequence[str], until: datetime) -> Mapping[str, Medium]: ...


class LibraryShelf:
    """See the module."""

    def __init__(self, library: Library, clock: Clock) -> None:
        self._library = library
        self._clock = clock

    async def check(self, bot: Bot, post: Post) -> None:
        """See Shelf. Another bot's file looks like none. One query, and a second only for files whose time is almost up."""
        named = list(_named(post))
        if not named:
            return
        ids = [medium_id for _, medium_id in named]
        found, soon = await self._library.find(ids), self._clock.now() + GRACE
        if any(medium.expire_time < soon for medium in found.values()):
            found = await self._library.keep(ids, soon)
        for field, medium_id in named:
            medium = found.get(medium_id)
            if medium is None or medium.bot_id not in ("", bot.id):
                raise NotFound(
                    "MEDIA_NOT_FOUND", "no such media", field=field, metadata={"mediaId": medium_id}
                )

    async def facts(self, ids: Sequence[str]) -> Mapping[str, MediaFacts]:
        """What the policy checks ask, by id; what does not exist is left out."""
        found = await self._library.find(ids) if ids else {}
        return {
            medium.id: MediaFacts(medium.kind, medium.state, bool(medium.alt_text))
            for medium in found.values()
        }


def _named(post: Post) -> Iterator[tuple[str, str]]:
    """Each file that the post names, with the field that names it."""
    for part in post.parts:
        where = "post" if len(post.parts) == 1 else f"post.parts[{part.index}]"
        for place, medium_id in enumerate(part.media_ids):
            yield f"{where}.media_ids[{place}]", medium_id
