"""Calls of media that are counted: what one bot sends and describes, as soon as X has taken it."""

from dataclasses import dataclass

from services.bot_manager.domain.limits import ALT_TEXT, UPLOAD, CallCount
from services.bot_manager.x.port import XCredentials, XMedia, XMediaPort


@dataclass(frozen=True, slots=True)
class CountedCalls:
    """Implements XMediaPort for one bot. Of an upload its segments are counted: their window is the first to be full."""

    x: XMediaPort
    bot_id: str
    count: CallCount

    async def initialize(
        self, credentials: XCredentials, content_type: str, category: str, size: int
    ) -> XMedia:
        """See XMediaPort."""
        return await self.x.initialize(credentials, content_type, category, size)

    async def append(self, credentials: XCredentials, x_media_id: str, index: int, data: bytes) -> None:
        """See XMediaPort."""
        await self.x.append(credentials, x_media_id, index, data)
        self.count(self.bot_id, UPLOAD, 1)

    async def finalize(self, credentials: XCredentials, x_media_id: str) -> XMedia:
        """See XMediaPort."""
        return await self.x.finalize(credentials, x_media_id)

    async def media_status(self, credentials: XCredentials, x_media_id: str) -> XMedia:
        """See XMediaPort."""
        return await self.x.media_status(credentials, x_media_id)

    async def describe(self, credentials: XCredentials, x_media_id: str, alt_text: str) -> None:
        """See XMediaPort."""
        await self.x.describe(credentials, x_media_id, alt_text)
        self.count(self.bot_id, ALT_TEXT, 1)
