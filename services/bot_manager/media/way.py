"""The way of one file to one account on X.

    NEW → announce → SENDING, a segment of 1 MiB after the other → finish → PROCESSING, asked when X says → alt text → READY

How far it has come is written down, so it goes on where it stopped: after X was away, after a crash, after a slice of time. Nobody sees
an upload, so every step may be repeated, and one that X has lost is begun anew. What X says of the file itself is final: the file is
FAILED, and so is the post.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from loguru import logger

from mesh.errors import MeshError
from services.bot_manager.domain import story
from services.bot_manager.domain.media import CHUNK_BYTES, MediaState, Medium
from services.bot_manager.domain.model import Entry, EntryKind, Failure
from services.bot_manager.domain.outcomes import NO_RESET_PAUSE
from services.bot_manager.domain.retry import retry_pause
from services.bot_manager.media.means import CATEGORIES, MARGIN, NAMES, Slice, Tools, UploadSettings
from services.bot_manager.publishing.checks import GiveUp, PutOff
from services.bot_manager.store.uploads import Stage, Upload
from services.bot_manager.x.port import XCredentials, XMedia, XProcessing

X_KEEPS: Final = timedelta(hours=24)
"""How long X keeps media that no post shows, where it does not say (X: expires_after_secs 86400)."""
LEAST_PAUSE: Final = timedelta(seconds=1)
"""Between two questions how far X is, where it does not ask for more."""
PATIENCE: Final = timedelta(seconds=2)
"""How long a worker waits for X to process a file; for longer the post is given back."""
SAVE_EVERY: Final = 16
"""Segments between two notes of how far it is."""
MAX_RESTARTS: Final = 1
"""How often an upload that X has lost, or does not want to go on with, is begun anew."""


class _Ended(Exception):
    """The way ends here, for this time or for good."""

    def __init__(self, verdict: PutOff | GiveUp) -> None:
        super().__init__()
        self.verdict = verdict


class Way:
    """`upload` was seized until `busy_until`."""

    def __init__(
        self,
        tools: Tools,
        settings: UploadSettings,
        medium: Medium,
        upload: Upload,
        busy_until: datetime,
        credentials: XCredentials,
        time: Slice,
    ) -> None:
        self._tools = tools
        self._x = tools.x
        self._clock = tools.clock
        self._settings = settings
        self._medium = medium
        self._upload = upload
        self._busy_until = busy_until
        self._credentials = credentials
        self._time = time
        self._arrived = False

    async def go(self, part_index: int, chance: float) -> Upload | PutOff | GiveUp:
        """Go on as far as time allows. Raises MeshError for what is neither X's absence nor its verdict on the file."""
        upload = self._upload
        self._arrived = upload.is_usable(self._soon)
        if upload.stage is not Stage.NEW and (upload.expire_time or self._soon) <= self._soon:
            self._begin_anew(0)
        try:
            while not self._arrived:
                try:
                    await self._step()
                except MeshError as error:
                    self._judge(error, chance)
        except _Ended as ended:
            return _about(ended.verdict, part_index)
        finally:
            with suppress(MeshError):  # at worst some of it is sent again
                await self._tools.uploads.save(self._upload, self._clock.now())
        return self._upload

    @property
    def _soon(self) -> datetime:
        return self._clock.now() + MARGIN

    async def _step(self) -> None:
        match self._upload.stage:
            case Stage.NEW:
                await self._announce()
            case Stage.SENDING:
                await self._send()
            case _:
                await self._follow()

    async def _announce(self) -> None:
        medium, begun = self._medium, self._clock.now()
        answer = await self._x.initialize(
            self._credentials, medium.content_type, CATEGORIES[medium.kind], medium.size_bytes
        )
        self._upload = replace(
            self._upload,
            stage=Stage.SENDING,
            x_media_id=answer.x_media_id,
            begin_time=begun,
            expire_time=self._clock.now() + (answer.expires_after or X_KEEPS),
        )

    async def _send(self) -> None:
        """The segments that X does not have yet, and the word that these are all."""
        total = -(-self._medium.size_bytes // CHUNK_BYTES)
        while (index := self._upload.next_segment) < total:
            data = await self._tools.library.read(self._medium.id, index * CHUNK_BYTES, CHUNK_BYTES)
            if not data:
                raise _Ended(self._failed("MEDIA_NOT_FOUND", "its bytes do not exist any more"))
            await self._x.append(self._credentials, self._upload.x_media_id, index, data)
            self._upload = replace(self._upload, next_segment=index + 1, failures=0)
            if self._upload.next_segment < total:
                await self._pause_if_over(total)
        answer = await self._x.finalize(self._credentials, self._upload.x_media_id)
        self._upload = replace(self._upload, stage=Stage.PROCESSING, sent_time=self._clock.now())
        await self._hear(answer)

    async def _pause_if_over(self, total: int) -> None:
        done = self._upload.next_segment
        if not self._time.left:
            told = f"{done} of {total} MB of {self._name} are at X; the rest follows"
            raise _Ended(PutOff(self._clock.now(), "MEDIA_PENDING", told))
        if done % SAVE_EVERY == 0:
            await self._tools.uploads.save(self._upload, self._busy_until)

    async def _follow(self) -> None:
        """Ask how far X is, when it wants to be asked."""
        now = self._clock.now()
        check = self._upload.check_time or now
        if check > now:
            if check - now > min(PATIENCE, self._time.left):
                raise _Ended(PutOff(check, "MEDIA_PENDING", f"X is processing {self._name}"))
            await self._clock.sleep(check - now)
        await self._hear(await self._x.media_status(self._credentials, self._upload.x_media_id))

    async def _hear(self, answer: XMedia) -> None:
        """What X says of a file that it has whole."""
        now = self._clock.now()
        expire_time = self._upload.expire_time
        if answer.expires_after is not None:
            expire_time = now + answer.expires_after
        pause = max(answer.check_after or LEAST_PAUSE, LEAST_PAUSE)
        upload = self._upload = replace(
            self._upload, expire_time=expire_time, check_time=now + pause, failures=0
        )
        match answer.processing:
            case XProcessing.SUCCEEDED:
                await self._describe()
                self._upload = replace(self._upload, stage=Stage.READY)
                self._arrived = True
                logger.bind(media_id=upload.media_id, x_media_id=upload.x_media_id).info("media at X")
            case XProcessing.FAILED:
                await self._processing_failed(answer)
            case _ if now - (upload.sent_time or now) > self._settings.processing_limit:
                minutes = self._settings.processing_limit / timedelta(minutes=1)
                self._begin_anew(0)
                raise _Ended(
                    self._failed("MEDIA_FAILED", f"X did not finish processing it within {minutes:g} minutes")
                )

    async def _describe(self) -> None:
        if self._medium.alt_text and not self._upload.described:
            await self._x.describe(self._credentials, self._upload.x_media_id, self._medium.alt_text)
            self._upload = replace(self._upload, described=True)

    async def _processing_failed(self, answer: XMedia) -> None:
        words = answer.failure or "it gave no reason"
        if not answer.retryable:
            await self._tools.library.fail(self._medium.id, words, self._clock.now())
        elif self._upload.restarts < MAX_RESTARTS:
            self._begin_anew(self._upload.restarts + 1)
            return
        failed = self._failed("MEDIA_FAILED", f"X could not process {self._name}: {words}")
        self._begin_anew(0)
        raise _Ended(failed)

    def _judge(self, error: MeshError, chance: float) -> None:
        """What follows from a call that did not go well. Raises _Ended, or the error where it is not for the way to judge."""
        now, rules = self._clock.now(), self._settings.rules
        match error.reason:
            case "X_UNAVAILABLE":
                failures = self._upload.failures + 1
                self._upload = replace(self._upload, failures=failures)
                told = f"X did not take {self._name} just now; it goes on from there"
                raise _Ended(PutOff(now + retry_pause(failures, rules, chance), error.reason, told))
            case "X_RATE_LIMITED":
                told = f"X's limit of media is used up; {self._name} follows when it resets"
                raise _Ended(PutOff(now + (error.retry_after or NO_RESET_PAUSE), error.reason, told))
            case "X_CREDITS_DEPLETED":
                raise _Ended(PutOff(now + rules.credits_pause, error.reason, error.message))
            case "X_REJECTED":
                self._refused(error)
            case _:
                raise error

    def _refused(self, error: MeshError) -> None:
        lost = error.metadata.get("httpStatus") == "404" or self._upload.stage is Stage.SENDING
        if lost and self._upload.restarts < MAX_RESTARTS:
            self._begin_anew(self._upload.restarts + 1)
            return
        told = error.metadata
        words = told.get("problemDetail") or told.get("problemTitle") or error.message
        failed = self._failed("X_REJECTED", f"X refused {self._name}: {words}", told)
        self._begin_anew(0)
        raise _Ended(failed)

    def _begin_anew(self, restarts: int) -> None:
        old = self._upload
        self._upload = Upload(old.media_id, old.account, self._clock.now(), restarts=restarts)

    def _failed(self, reason: str, message: str, told: Mapping[str, str] | None = None) -> GiveUp:
        """The post cannot go out, with X's words."""
        told = told or {}
        status = told.get("httpStatus", "")
        failure = Failure(
            reason,
            message,
            self._clock.now(),
            http_status=int(status) if status.isdecimal() else 0,
            problem_type=told.get("problemType", ""),
            problem_detail=told.get("problemDetail", ""),
        )
        took = self._clock.now() - self._upload.begin_time
        details = story.media_upload_detail(self._medium.id, "", MediaState.FAILED, took)
        return GiveUp(failure, (Entry(EntryKind.MEDIA_UPLOADED, message, details=details),))

    @property
    def _name(self) -> str:
        return NAMES[self._medium.kind]


def _about(verdict: PutOff | GiveUp, part_index: int) -> PutOff | GiveUp:
    """The verdict with the part that it is about."""
    entries = tuple(replace(entry, part_index=part_index) for entry in verdict.entries)
    if isinstance(verdict, GiveUp):
        return GiveUp(replace(verdict.failure, part_index=part_index), entries)
    return replace(verdict, entries=entries)
