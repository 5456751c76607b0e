"""The stream of PostService: what happens, as it happens.

A token is the place behind the event that it came with, signed, and bound to what was asked for.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from mesh.errors import InvalidArgument
from mesh.paging import PageTokens
from services.bot_manager.convert.events import from_event, to_wanted
from services.bot_manager.domain.watching import Place, Told, Wanted
from services.bot_manager.events.hub import Hub
from vivesphere.bot_manager.v1 import post_service_pb2 as pb


class Bots(Protocol):
    """Raises NotFound (BOT_NOT_FOUND)."""

    async def get(self, bot_id: str) -> object: ...


class Watching:
    """Streams of events."""

    def __init__(self, hub: Hub, bots: Bots, page_secret: bytes) -> None:
        self._hub = hub
        self._bots = bots
        self._tokens = PageTokens(page_secret, "bot_manager.events")

    async def watch(self, request: pb.WatchEventsRequest) -> AsyncGenerator[pb.WatchEventsResponse, None]:
        """What is asked for, for ever; the first item says where the stream begins.

        Raises NotFound (BOT_NOT_FOUND), OutOfRange (RESUME_TOKEN_EXPIRED), InvalidArgument (INVALID_PAGE_TOKEN), ResourceExhausted,
        Unavailable.
        """
        wanted = to_wanted(request)
        if wanted.bot_id:
            await self._bots.get(wanted.bot_id)
        with self._hub.opening():
            place = self._resumed(request.resume_token, wanted) or await self._hub.now()
            yield pb.WatchEventsResponse(resume_token=self._token(place, wanted))
            async with aclosing(self._hub.follow(wanted, place)) as items:
                async for item in items:
                    if isinstance(item, Told):
                        token = self._token(item.place, wanted)
                        yield pb.WatchEventsResponse(event=from_event(item.event), resume_token=token)
                    else:
                        yield pb.WatchEventsResponse(resume_token=self._token(item, wanted))

    def _token(self, place: Place, wanted: Wanted) -> str:
        position = (place.tick, place.number, place.upper) if place.number else (place.tick,)
        return self._tokens.encode(position, _bound_to(wanted))

    def _resumed(self, token: str, wanted: Wanted) -> Place | None:
        try:
            fields = self._tokens.decode(token, _bound_to(wanted))
        except InvalidArgument:
            raise InvalidArgument(
                "INVALID_PAGE_TOKEN",
                "resume_token was not given out here for this bot, post and types; watch without it",
                field="resume_token",
            ) from None
        return None if fields is None else Place(*(int(field or 0) for field in fields))


def _bound_to(wanted: Wanted) -> dict[str, object]:
    return {"bot": wanted.bot_id, "post": wanted.post_id, "types": sorted(wanted.types)}
