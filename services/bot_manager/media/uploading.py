"""Brings files to X shortly before the posts that show them. Implements `publishing/checks.Uploader`.

A post is held for a slice of time only; what takes longer gives it back, and it is claimed again and goes on where it stopped. So no
lease ends over a long film, no worker waits for X to process one, and after a crash another replica goes on. How a file gets to X is told
in `media/way.py`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from services.bot_manager.domain import story
from services.bot_manager.domain.limits import CallCount, free_of_charge
from services.bot_manager.domain.media import MediaState, Medium
from services.bot_manager.domain.model import Bot, Entry, EntryKind, Failure, Part, Post
from services.bot_manager.media.counted import CountedCalls
from services.bot_manager.media.means import MARGIN, NAMES, Slice, Tools, UploadSettings
from services.bot_manager.media.way import Way
from services.bot_manager.publishing.checks import GiveUp, PutOff, Uploaded
from services.bot_manager.store.uploads import Upload
from services.bot_manager.x.port import XCredentials

MAX_AT_ONCE: Final = 8
"""Files that one process sends at a time; each needs a few MiB."""
LOOK_AGAIN: Final = timedelta(seconds=1)
"""When to look again at what waits for its turn, or what another worker is sending."""


class MediaUploader:
    """`chance` gives a number in [0, 1) that spreads retries; `count` is told of calls that X has taken."""

    def __init__(
        self,
        tools: Tools,
        settings: Callable[[], UploadSettings],
        chance: Callable[[], float],
        count: CallCount = free_of_charge,
    ) -> None:
        self._tools = tools
        self._settings = settings
        self._chance = chance
        self._count = count
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def upload(
        self, post: Post, bot: Bot, part: Part, credentials: XCredentials
    ) -> Uploaded | PutOff | GiveUp:
        """See Uploader. Two queries where X has everything already."""
        account, clock = bot.x_user_id or bot.id, self._tools.clock
        media = await self._tools.library.find(part.media_ids)
        known = await self._tools.uploads.find(part.media_ids, account)
        time = Slice(clock, self._settings().slice)
        tools = replace(self._tools, x=CountedCalls(self._tools.x, bot.id, self._count))
        needed = clock.now() + MARGIN
        ids: list[str] = []
        entries: list[Entry] = []
        for medium_id in part.media_ids:
            medium, upload = media.get(medium_id), known.get(medium_id)
            if medium is None or medium.state is MediaState.FAILED:
                return GiveUp(_unusable(medium, medium_id, clock.now(), part.index), entries)
            if upload is None or not upload.is_usable(needed):
                brought = await self._bring(tools, medium, account, credentials, time, part.index)
                if not isinstance(brought, Upload):
                    return replace(brought, entries=(*entries, *brought.entries))
                upload = brought
                entries.append(_at_x(medium, upload, clock.now(), part.index))
            ids.append(upload.x_media_id)
        return Uploaded(tuple(ids), entries)

    async def _bring(
        self,
        tools: Tools,
        medium: Medium,
        account: str,
        credentials: XCredentials,
        time: Slice,
        part_index: int,
    ) -> Upload | PutOff | GiveUp:
        name = NAMES[medium.kind]
        try:
            async with asyncio.timeout(time.left.total_seconds()):
                await self._turns.acquire()
        except TimeoutError:
            return self._later(f"{name} waits for its turn to be sent to X")
        try:
            now, settings = self._tools.clock.now(), self._settings()
            until = now + time.left + settings.call_timeout
            upload = await self._tools.uploads.seize(medium.id, account, now, until)
            if upload is None:
                return self._later(f"{name} is being sent to X for another post")
            way = Way(tools, settings, medium, upload, until, credentials, time)
            return await way.go(part_index, self._chance())
        finally:
            self._turns.release()

    def _later(self, message: str) -> PutOff:
        return PutOff(self._tools.clock.now() + LOOK_AGAIN, "MEDIA_PENDING", message)


def _unusable(medium: Medium | None, medium_id: str, now: datetime, part_index: int) -> Failure:
    if medium is None:
        return Failure("MEDIA_NOT_FOUND", f"the media {medium_id} do not exist any more", now, part_index)
    told = f"X could not process {NAMES[medium.kind]} before: {medium.failure_message}"
    return Failure("MEDIA_FAILED", told, now, part_index)


def _at_x(medium: Medium, upload: Upload, now: datetime, part_index: int) -> Entry:
    return Entry(
        EntryKind.MEDIA_UPLOADED,
        f"{NAMES[medium.kind]} is at X",
        part_index=part_index,
        details=story.media_upload_detail(
            medium.id, upload.x_media_id, MediaState.READY, now - upload.begin_time
        ),
    )
