"""Posts with pictures and films, from the library to what X displays: each file is sent once, whatever happens on the way."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from mesh.clock import SystemClock
from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted, Unavailable
from mesh.ids import new_id
from services.bot_manager.domain import rules
from services.bot_manager.domain.limits import ALT_TEXT, UPLOAD, CallCount, free_of_charge
from services.bot_manager.domain.media import MIB, MediaState, Medium
from services.bot_manager.domain.model import Bot, BotState, EntryKind, Part, Post, PostState
from services.bot_manager.media.inspection import Inspector
from services.bot_manager.media.intake import Announced, Intake
from services.bot_manager.media.means import Tools, UploadSettings
from services.bot_manager.media.uploading import MediaUploader
from services.bot_manager.store.library import PostgresLibrary
from services.bot_manager.store.tables.library import x_media
from services.bot_manager.store.uploads import PostgresUploads, Upload
from services.bot_manager.x.media import MediaCalls
from services.bot_manager.x.port import OAuth1Credentials
from tests.fakes.media import film, gif, picture
from tests.integration.services.bot_manager.publishing.rig import SECOND, SETTINGS, Rig, eventually

S, E = PostState, EntryKind
PATIENT = replace(SETTINGS, request_timeout=SECOND * 5, lease=SECOND * 20)


class Watched:
    """The way to X, which notes what is sent; `before` may interfere with a call."""

    def __init__(self, calls: MediaCalls) -> None:
        self._calls = calls
        self.announced = 0
        self.segments: list[int] = []
        self.before: Any = None

    async def initialize(self, *given: Any) -> Any:
        await self._meet("initialize", self.announced)
        self.announced += 1
        return await self._calls.initialize(*given)

    async def append(self, credentials: Any, x_media_id: str, index: int, data: bytes) -> None:
        await self._meet("append", index)
        self.segments.append(index)
        await self._calls.append(credentials, x_media_id, index, data)

    async def finalize(self, *given: Any) -> Any:
        await self._meet("finalize", 0)
        return await self._calls.finalize(*given)

    async def media_status(self, *given: Any) -> Any:
        await self._meet("status", 0)
        return await self._calls.media_status(*given)

    async def describe(self, *given: Any) -> None:
        await self._meet("describe", 0)
        await self._calls.describe(*given)

    async def _meet(self, call: str, number: int) -> None:
        if self.before is not None:
            await self.before(call, number)


class Studio:
    """Files, and uploaders that send them."""

    def __init__(self, rig: Rig) -> None:
        rig.settings = PATIENT
        self.rig = rig
        self.library = PostgresLibrary(rig.database)
        self.uploads = PostgresUploads(rig.database)
        self._intake = Intake(self.library, rig.bots, Inspector(), SystemClock(), lambda: timedelta(days=7))

    def watched(self) -> Watched:
        """A way to X of its own."""
        return Watched(MediaCalls(self.rig.port(), lambda: SECOND * 5))

    def uploader(
        self,
        x: Any,
        *,
        clock: Any = None,
        uploads: Any = None,
        count: CallCount = free_of_charge,
        **settings: Any,
    ) -> MediaUploader:
        """An uploader as the service has it, on this way to X."""
        usual = UploadSettings(PATIENT.rules, PATIENT.upload_slice, SECOND * 5, SECOND * 30)
        tools = Tools(self.library, uploads or self.uploads, x, clock or SystemClock())
        return MediaUploader(tools, lambda: replace(usual, **settings), lambda: 0.5, count)

    async def file(self, data: bytes, **said: Any) -> Medium:
        """A file in the library."""

        async def pieces() -> Any:
            yield data

        return await self._intake.take(Announced(new_id(), **said), pieces(), None)

    async def post(self, bot: Bot, *shown: Medium | tuple[Medium, ...], words: str = "look") -> Post:
        """A post due now, a part for each file or group of files."""
        now = SystemClock().now()
        groups = [one if isinstance(one, tuple) else (one,) for one in shown]
        parts = tuple(
            Part(index, f"{words} {index}", media_ids=tuple(medium.id for medium in group))
            for index, group in enumerate(groups)
        )
        change = rules.create(Post(new_id(), bot.id, S.DRAFT, parts, now, now), now, timedelta(hours=1))
        return await self.rig.posts.create(change.post, change.entries, None)

    async def at_x(self) -> list[dict[str, Any]]:
        """The media that the sandbox has whole."""
        return (await self.rig.call("GET", "/sandbox/media"))["media"]

    async def moods(self, **moods: object) -> None:
        """How the sandbox treats media from now on."""
        await self.rig.call("PUT", "/sandbox/media/moods", moods)

    async def details(self, post: Post, kind: EntryKind) -> list[dict[str, Any]]:
        """What entries of this kind say."""
        story = await self.rig.posts.story(post.id, 0, 1000)
        return [dict(entry.details) for entry in story if entry.kind is kind]


@pytest.fixture
async def studio(rig: Rig) -> Studio:
    async with rig.database.transaction() as connection:
        await connection.execute(text("DELETE FROM media"))
    return Studio(rig)


async def test_pictures_films_and_their_alt_texts_are_shown(rig: Rig, studio: Studio) -> None:
    """What was uploaded here is what X displays, byte by byte, in its order."""
    bot = await rig.bot()
    await studio.moods(seconds=0)
    images = tuple(
        [await studio.file(picture("PNG", (9, one + 1)), alt_text=f"picture {one}") for one in range(4)]
    )
    moving = await studio.file(gif(3))
    video = await studio.file(film(2, pad=2 * MIB + 7), alt_text="a film")
    post = await studio.post(bot, images, moving, video)
    async with rig.replica(uploader=studio.uploader(studio.watched())):
        await rig.until(post, S.PUBLISHED)
    kept = {one["id"]: one for one in await studio.at_x()}
    shown = [[kept[media_id]["sha256"] for media_id in one["media_ids"]] for one in await rig.shown()]
    assert shown == [[one.sha256 for one in images], [moving.sha256], [video.sha256]]
    texts = [one["alt_text"] for one in kept.values()]
    assert texts == [*(f"picture {one}" for one in range(4)), "", "a film"]
    told = await studio.details(post, E.MEDIA_UPLOADED)
    assert [one["media_upload"]["media_id"] for one in told] == [
        *(one.id for one in images),
        moving.id,
        video.id,
    ]
    assert {one["media_upload"]["state"] for one in told} == {"MEDIA_STATE_READY"}
    assert all(one["media_upload"]["x_media_id"] in kept for one in told)


async def test_a_retry_does_not_upload_again(rig: Rig, studio: Studio) -> None:
    """X knows the file for a day: neither a post that is put off nor another with the same picture sends it anew."""
    bot, image = await rig.bot(), await studio.file(picture())
    x = studio.watched()
    await rig.fault("rate_limited", seconds=1)
    first = await studio.post(bot, image, words="first")
    async with rig.replica(uploader=studio.uploader(x)):
        await rig.until(first, S.PUBLISHED)
        await rig.until(await studio.post(bot, image, words="second"), S.PUBLISHED)
    assert await rig.outcomes(first) == ["DEFERRED", "ACCEPTED"]
    assert (x.announced, x.segments) == (1, [0])
    assert len(await studio.details(first, E.MEDIA_UPLOADED)) == 1


async def test_what_x_has_taken_is_counted_for_the_bot(rig: Rig, studio: Studio) -> None:
    """Its descriptions cost, and its segments use up a window; what X did not take counts as nothing."""
    await studio.moods(seconds=0)
    bot, video = await rig.bot(), await studio.file(film(pad=2 * MIB), alt_text="a film")
    x, calls = studio.watched(), []
    failing: list[MeshError] = [Unavailable("X_UNAVAILABLE", "away"), Unavailable("X_UNAVAILABLE", "away")]

    async def before(call: str, number: int) -> None:
        if call in ("append", "describe") and number == 0 and failing:
            raise failing.pop()

    x.before = before
    async with rig.replica(uploader=studio.uploader(x, count=lambda *call: calls.append(call))):
        await rig.until(await studio.post(bot, video), S.PUBLISHED)
    assert failing == []
    assert calls == [(bot.id, UPLOAD, 1)] * 3 + [(bot.id, ALT_TEXT, 1)]


async def test_what_x_has_forgotten_is_sent_anew(rig: Rig, studio: Studio) -> None:
    """An id that is about to end must not be named in a post."""
    bot, image = await rig.bot(), await studio.file(picture())
    x = studio.watched()
    async with rig.replica(uploader=studio.uploader(x)):
        await rig.until(await studio.post(bot, image, words="first"), S.PUBLISHED)
        async with rig.database.transaction() as connection:
            soon = datetime.now(UTC) + timedelta(minutes=5)
            await connection.execute(update(x_media).values(expire_time=soon))
        await rig.until(await studio.post(bot, image, words="second"), S.PUBLISHED)
    assert x.announced == 2


async def test_posts_that_show_the_same_film_at_once_send_it_once(rig: Rig, studio: Studio) -> None:
    """Two replicas with two posts of an account must not both send half a gigabyte."""
    bot, video = await rig.bot(), await studio.file(film(pad=3 * MIB))
    x = studio.watched()
    await studio.moods(seconds=0)
    made = [await studio.post(bot, video, words=words) for words in ("one", "two", "three")]
    async with (
        rig.replica("worker-1", uploader=studio.uploader(x)),
        rig.replica("worker-2", uploader=studio.uploader(x)),
    ):
        for post in made:
            await rig.until(post, S.PUBLISHED)
    assert x.announced == len(await studio.at_x()) == 1
    assert sorted(x.segments) == [0, 1, 2, 3]
    assert {one["media_ids"][0] for one in await rig.shown()} == {(await studio.at_x())[0]["id"]}


async def test_an_upload_goes_on_where_x_went_away(rig: Rig, studio: Studio) -> None:
    """A hiccup in the middle of a film must not cost the film, nor the post."""
    await studio.moods(seconds=0)
    bot, video = await rig.bot(), await studio.file(film(pad=4 * MIB))
    x = studio.watched()
    away = [True, True]

    async def before(call: str, number: int) -> None:
        if call == "append" and number == 3 and away:
            away.pop()
            await studio.moods(unavailable=1)

    x.before = before
    post = await studio.post(bot, video)
    async with rig.replica(uploader=studio.uploader(x)):
        await rig.until(post, S.PUBLISHED)
    assert (x.announced, x.segments) == (1, [0, 1, 2, 3, 3, 3, 4])
    reasons = [one["deferral"]["reason"] for one in await studio.details(post, E.DEFERRED)]
    assert reasons[:2] == ["X_UNAVAILABLE", "X_UNAVAILABLE"]
    assert (await studio.at_x())[0]["sha256"] == video.sha256


async def test_an_upload_goes_on_after_a_crash(rig: Rig, studio: Studio) -> None:
    """Whoever comes after a dead worker goes on from what it last noted, not from the beginning."""
    bot, video = await rig.bot(), await studio.file(film(pad=18 * MIB))
    await studio.moods(seconds=0)
    x, dying = studio.watched(), studio.watched()
    dead = asyncio.Event()

    class Mortal(PostgresUploads):
        """Writes nothing any more once its process is dead."""

        async def save(self, upload: Upload, busy_until: datetime) -> None:
            if not dead.is_set():
                await super().save(upload, busy_until)

    async def before(call: str, number: int) -> None:
        if call == "append" and number == 17:
            dead.set()
            await asyncio.Event().wait()

    dying.before = before
    post = await studio.post(bot, video)
    keys = OAuth1Credentials.from_fields(rig.secrets.fields[bot.id])
    killed = studio.uploader(dying, uploads=Mortal(rig.database))
    working = asyncio.create_task(killed.upload(post, bot, post.parts[0], keys))
    await asyncio.wait_for(dead.wait(), 15)
    working.cancel()
    await asyncio.wait({working})
    async with rig.database.transaction() as connection:
        noted = (await connection.execute(select(x_media.c.next_segment))).scalar_one()
        # Its time to be alone with the file has passed.
        await connection.execute(update(x_media).values(busy_until=datetime.now(UTC)))
    assert noted == 16
    async with rig.replica("worker-2", uploader=studio.uploader(x)):
        await rig.until(post, S.PUBLISHED)
    assert x.announced == 0
    assert x.segments[0] == 16
    assert (await studio.at_x())[0]["sha256"] == video.sha256


async def test_a_long_upload_gives_its_post_back_between_slices(rig: Rig, studio: Studio) -> None:
    """No lease may end over a long film: the post goes back, is claimed again, and its story says how far the film is."""
    await studio.moods(seconds=0)
    bot, video = await rig.bot(), await studio.file(film(pad=2 * MIB))
    x = studio.watched()

    class Hasty(SystemClock):
        """A clock on which every segment takes a minute."""

        passed = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.passed

    clock = Hasty()

    async def before(call: str, number: int) -> None:
        if call == "append":
            clock.passed += 60

    x.before = before
    post = await studio.post(bot, video)
    async with rig.replica(uploader=studio.uploader(x, clock=clock)):
        await rig.until(post, S.PUBLISHED)
    assert x.segments == [0, 1, 2]
    story = await rig.posts.story(post.id, 0, 1000)
    told = [entry.message for entry in story if entry.kind is E.DEFERRED]
    assert told[:2] == [
        "1 of 3 MB of the video are at X; the rest follows",
        "2 of 3 MB of the video are at X; the rest follows",
    ]


async def test_what_x_cannot_process_fails_the_post_with_its_words(rig: Rig, studio: Studio) -> None:
    """Nobody shall guess why; and a file that X has judged is not sent again."""
    bot, video = await rig.bot(), await studio.file(film())
    x = studio.watched()
    await studio.moods(seconds=0, failure="Unsupported profile: High 4:4:4")
    async with rig.replica(uploader=studio.uploader(x)):
        for words in ("first", "second"):
            failed = await rig.until(await studio.post(bot, video, words=words), S.FAILED)
            assert failed.failure.reason == "MEDIA_FAILED"
            assert "Unsupported profile: High 4:4:4" in failed.failure.message
            assert failed.failure.part_index == 0
            assert failed.attempt_count == 0
    assert x.announced == 1
    stored = await studio.library.get(video.id)
    assert (stored.state, stored.failure_message) == (MediaState.FAILED, "Unsupported profile: High 4:4:4")
    assert await rig.shown() == []


async def test_a_fault_of_xs_own_is_tried_once_more(rig: Rig, studio: Studio) -> None:
    """A file is not to blame for an internal error."""
    bot, video = await rig.bot(), await studio.file(film())
    x = studio.watched()
    await studio.moods(seconds=0, failure="try later", failure_name="InternalError")

    async def before(call: str, number: int) -> None:
        if call == "initialize" and number == 1:
            await studio.moods(failure="")

    x.before = before
    async with rig.replica(uploader=studio.uploader(x)):
        await rig.until(await studio.post(bot, video), S.PUBLISHED)
    assert x.announced == 2


async def test_processing_without_end_fails_the_post(rig: Rig, studio: Studio) -> None:
    """A total limit stands over all polling."""
    bot, video = await rig.bot(), await studio.file(film())
    await studio.moods(seconds=3600)
    passed = -SECOND  # whatever time it took already
    uploader = studio.uploader(studio.watched(), processing_limit=passed)
    async with rig.replica(uploader=uploader):
        failed = await rig.until(await studio.post(bot, video), S.FAILED)
    assert failed.failure.reason == "MEDIA_FAILED"
    assert "did not finish" in failed.failure.message
    assert (await studio.library.get(video.id)).state is MediaState.READY


async def test_an_upload_that_x_has_lost_begins_anew_once(rig: Rig, studio: Studio) -> None:
    """X forgets uploads when it restarts; it does not lose two in a row without a reason that a person must hear."""
    bot, image = await rig.bot(), await studio.file(picture())
    x = studio.watched()
    lost = FailedPrecondition(
        "X_REJECTED", "refused", metadata={"httpStatus": "404", "problemDetail": "gone"}
    )
    losing: list[MeshError] = [lost]

    async def before(call: str, number: int) -> None:
        if call == "finalize" and losing:
            raise losing.pop()

    x.before = before
    async with rig.replica(uploader=studio.uploader(x)):
        await rig.until(await studio.post(bot, image), S.PUBLISHED)
        assert x.announced == 2
        losing += [lost, lost]
        other = await studio.file(picture("JPEG"))
        failed = await rig.until(await studio.post(bot, other, words="other"), S.FAILED)
    assert (failed.failure.reason, failed.failure.http_status) == ("X_REJECTED", 404)
    assert "gone" in failed.failure.message


async def test_a_limit_of_media_puts_the_post_off_to_its_reset(rig: Rig, studio: Studio) -> None:
    """X's window is respected, as for posts."""
    bot, image = await rig.bot(), await studio.file(picture())
    await studio.moods(rate_limited=1)
    post = await studio.post(bot, image)
    async with rig.replica(uploader=studio.uploader(studio.watched())):
        await rig.until_told(post, E.DEFERRED)
        waiting = await rig.until(post, S.SCHEDULED)
    assert waiting.due_time > datetime.now(UTC) + timedelta(minutes=14)
    assert (await studio.details(post, E.DEFERRED))[0]["deferral"]["reason"] == "X_RATE_LIMITED"


async def test_used_up_credits_hold_back_the_texts_of_the_app_as_well(rig: Rig, studio: Studio) -> None:
    """What X refuses for want of credits is not asked again post by post."""
    bot, image = await rig.bot(), await studio.file(picture())
    x = studio.watched()

    async def before(call: str, number: int) -> None:
        raise ResourceExhausted("X_CREDITS_DEPLETED", "the developer app has no credits left")

    x.before = before
    shown = await studio.post(bot, image)
    async with rig.replica(uploader=studio.uploader(x)):
        await rig.until_told(shown, E.DEFERRED)
        plain = await rig.post(bot, "only words")
        await rig.until_told(plain, E.DEFERRED)
    for post in (shown, plain):
        assert (await studio.details(post, E.DEFERRED))[0]["deferral"]["reason"] == "X_CREDITS_DEPLETED"
        assert await rig.outcomes(post) == []


async def test_credentials_that_x_refuses_for_media_stop_the_bot(rig: Rig, studio: Studio) -> None:
    """The post waits for the person who connects the account again."""
    bot, image = await rig.bot(), await studio.file(picture())
    rig.secrets.put(bot.id, dict.fromkeys(rig.secrets.fields[bot.id], "wrong"))
    post = await studio.post(bot, image)
    async with rig.replica(uploader=studio.uploader(studio.watched())):
        await rig.until_bot(bot, BotState.REAUTH_REQUIRED)
        await rig.until(post, S.SCHEDULED)
    assert await rig.outcomes(post) == []


async def test_a_file_that_is_gone_fails_the_post(rig: Rig, studio: Studio) -> None:
    """A text alone must never go out in place of a picture and a text."""
    bot, image = await rig.bot(), await studio.file(picture())
    post = await studio.post(bot, image)
    async with rig.database.transaction() as connection:
        await connection.execute(text("DELETE FROM media"))
    async with rig.replica(uploader=studio.uploader(studio.watched())):
        failed = await rig.until(post, S.FAILED)
    assert failed.failure.reason == "MEDIA_NOT_FOUND"
    assert await rig.shown() == []


async def test_a_held_post_can_be_told_of_while_its_film_is_processed(rig: Rig, studio: Studio) -> None:
    """While X looks at a film the post waits unclaimed, and its story says for what."""
    bot, video = await rig.bot(), await studio.file(film())
    post = await studio.post(bot, video)

    async def waits() -> bool:
        return any("processing" in one.message for one in await rig.posts.story(post.id, 0, 100))

    async with rig.replica(uploader=studio.uploader(studio.watched(), slice=SECOND / 2)):
        await eventually(waits)
        await rig.until(post, S.PUBLISHED)
