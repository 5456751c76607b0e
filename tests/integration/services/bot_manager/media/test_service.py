"""MediaService over the real chain: files come in as streams, are examined, and stay while posts need them."""

import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from sqlalchemy import func, select

from mesh.database import Database
from mesh.errors import MeshError, NotFound
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.bot_manager.domain.media import MAX_BYTES, MIB, MediaFacts, MediaKind, MediaState
from services.bot_manager.domain.model import Bot, Part, Post, PostState
from services.bot_manager.domain.recurrence.model import Notation, Recurrence, Schedule, ScheduleState
from services.bot_manager.housekeeping import prune_media
from services.bot_manager.media.inspection import Inspector
from services.bot_manager.media.intake import ABANDONED, Announced, Intake
from services.bot_manager.media.shelf import LibraryShelf
from services.bot_manager.servicers.media import MediaServicer
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.library import PostgresLibrary
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.schedules import PostgresSchedules
from services.bot_manager.store.tables.library import media, media_chunks
from tests.fakes.clock import ManualClock
from tests.fakes.media import film, gif, noise, picture
from tests.fakes.mesh import serving
from tests.integration.services.bot_manager.conftest import NOW, AddBot
from vivesphere.bot_manager.v1 import media_pb2, media_service_pb2_grpc
from vivesphere.bot_manager.v1 import media_service_pb2 as pb

KEEP = timedelta(days=7)
NAMES = ["vivesphere.bot_manager.v1.MediaService"]
ROLES = {"operator": frozenset({"posts.*"}), "viewer": frozenset({"posts.read"})}


@dataclass
class Door:
    """A caller with a token, and what stands behind the service."""

    stub: Any
    library: PostgresLibrary
    clock: ManualClock
    token: str
    viewer: str

    async def upload(
        self, data: bytes, *, piece: int = 300_000, token: str = "", **fields: Any
    ) -> media_pb2.Media:
        """Send a file in pieces. Raises the MeshError that the service raised."""
        return (await self.send(messages(data, piece, **fields), token)).media

    async def send(self, stream: Iterator[pb.UploadMediaRequest], token: str = "") -> Any:
        return await self._call(self.stub.UploadMedia, stream, token)

    async def get(self, media_id: str) -> media_pb2.Media:
        return (await self._call(self.stub.GetMedia, pb.GetMediaRequest(media_id=media_id))).media

    async def _call(self, method: Any, request: Any, token: str = "") -> Any:
        metadata = (("authorization", f"Bearer {token or self.token}"),)
        try:
            return await method(request, timeout=20, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None


def messages(data: bytes, piece: int, **fields: Any) -> Iterator[pb.UploadMediaRequest]:
    """The stream of one file; the first message carries the fields."""
    first = pb.UploadMediaRequest(**fields)
    first.file.data = data[:piece]
    yield first
    for start in range(piece, len(data), piece):
        message = pb.UploadMediaRequest()
        message.file.data = data[start : start + piece]
        yield message


@pytest.fixture
async def door(
    database: Database, bots: PostgresBots, library: PostgresLibrary, tmp_path: Path
) -> AsyncIterator[Door]:
    clock = ManualClock(NOW)
    servicer = MediaServicer(Intake(library, bots, Inspector(), clock, lambda: KEEP), library)
    register = media_service_pb2_grpc.add_MediaServiceServicer_to_server
    async with (
        serving(tmp_path, "bot_manager", NAMES, [(register, servicer)], roles=ROLES) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        yield Door(
            media_service_pb2_grpc.MediaServiceStub(channel),
            library,
            clock,
            server.issuer.token("operator"),
            server.issuer.token("viewer"),
        )


async def refusal(awaitable: Any) -> tuple[str, str, str]:
    """Code, reason and first field of the error."""
    with pytest.raises(MeshError) as refused:
        await awaitable
    error = refused.value
    return error.code, error.reason, error.violations[0].field if error.violations else ""


async def rows(database: Database) -> tuple[int, int]:
    """How many files there are, those under way too, and how many pieces."""
    async with database.read() as connection:
        files = await connection.execute(select(func.count()).select_from(media))
        pieces = await connection.execute(select(func.count()).select_from(media_chunks))
        return files.scalar_one(), pieces.scalar_one()


async def test_a_file_is_examined_and_kept_with_what_was_said_of_it(door: Door, add_bot: AddBot) -> None:
    """What posts and people need to know of a file is known from the first answer on."""
    bot, data = await add_bot(), film(2.5, pad=3 * MIB)
    stored = await door.upload(data, bot_id=bot.id, filename="launch.mov", alt_text="a rocket rises")
    assert stored == await door.get(stored.id.upper())
    assert (stored.bot_id, stored.filename, stored.alt_text) == (bot.id, "launch.mov", "a rocket rises")
    assert (stored.content_type, stored.kind, stored.state) == (
        "video/mp4",
        media_pb2.MEDIA_KIND_VIDEO,
        media_pb2.MEDIA_STATE_READY,
    )
    assert (stored.width, stored.height, stored.duration.ToTimedelta()) == (320, 180, timedelta(seconds=2.5))
    assert (stored.size_bytes, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert stored.expire_time.ToDatetime() - stored.create_time.ToDatetime() == KEEP
    assert await door.library.read(stored.id, 0, len(data)) == data
    assert await door.library.read(stored.id, MIB - 5, 10) == data[MIB - 5 : MIB + 5]


@pytest.mark.parametrize(
    ("data", "fields", "wrong"),
    [
        (b"%PDF-1.7" + bytes(100), {}, ("INVALID_ARGUMENT", "MEDIA_UNSUPPORTED", "file")),
        (gif(400), {}, ("INVALID_ARGUMENT", "MEDIA_UNSUPPORTED", "file")),
        (film()[:-50], {}, ("INVALID_ARGUMENT", "MEDIA_UNSUPPORTED", "file")),
        (b"", {}, ("INVALID_ARGUMENT", "INVALID_FIELD", "file")),
        (picture(), {"size_bytes": 7}, ("INVALID_ARGUMENT", "INVALID_FIELD", "size_bytes")),
        (picture(), {"size_bytes": 6 * MIB}, ("INVALID_ARGUMENT", "MEDIA_UNSUPPORTED", "file")),
        (picture(), {"size_bytes": MAX_BYTES + 1}, ("INVALID_ARGUMENT", "INVALID_FIELD", "size_bytes")),
        (picture(), {"sha256": "0" * 64}, ("INVALID_ARGUMENT", "INVALID_FIELD", "sha256")),
        (picture(), {"bot_id": "0190aaaa-0000-7000-8000-000000000000"}, ("NOT_FOUND", "BOT_NOT_FOUND", "")),
        (picture(), {"alt_text": "x" * 1001}, ("INVALID_ARGUMENT", "INVALID_FIELD", "alt_text")),
    ],
)
async def test_what_is_refused_leaves_nothing_behind(
    door: Door, database: Database, data: bytes, fields: dict[str, Any], wrong: tuple[str, str, str]
) -> None:
    """A refusal names the field, and costs no room."""
    assert await refusal(door.upload(data, **fields)) == wrong
    assert await rows(database) == (0, 0)


async def test_a_caller_without_the_permission_stores_nothing(door: Door, database: Database) -> None:
    """A stream is checked before its first message is read."""
    assert (await refusal(door.upload(picture(), token=door.viewer)))[1] == "PERMISSION_MISSING"
    assert await rows(database) == (0, 0)


async def test_a_repeat_answers_the_first_result_and_stores_nothing(door: Door, database: Database) -> None:
    """A client that did not hear the answer may send it all again."""
    data, request_id = picture("JPEG", (600, 400)), new_id()
    first = await door.upload(data, request_id=request_id, alt_text="red")
    again = await door.upload(data, piece=1000, request_id=request_id, alt_text="red")
    assert again == first
    assert await rows(database) == (1, 1)
    for other, text in [(picture("PNG"), "red"), (data, "blue")]:
        reused = await refusal(door.upload(other, request_id=request_id, alt_text=text))
        assert reused == ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED", "request_id")
    assert await rows(database) == (1, 1)


async def test_a_file_that_never_ends_is_refused_at_the_limit(
    library: PostgresLibrary, bots: PostgresBots
) -> None:
    """Half a gigabyte and one byte is too much, whatever was announced; and no more than a piece is in memory at a time."""
    written = 0

    class Counting:
        """A library that only counts."""

        async def begin(self, *_: object) -> None: ...
        async def abandon(self, *_: object) -> None: ...
        async def recall(self, *_: object) -> None: ...
        async def add(self, medium_id: str, index: int, data: bytes, until: object) -> None:
            nonlocal written
            written += len(data)

    block = noise(MIB)

    async def endless() -> AsyncIterator[bytes]:
        yield film()[:500]
        while True:
            yield block

    intake = Intake(Counting(), bots, Inspector(), ManualClock(NOW), lambda: KEEP)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        code, reason, field = await refusal(intake.take(Announced(new_id()), endless(), None))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (code, reason, field) == ("OUT_OF_RANGE", "MESSAGE_TOO_LARGE", "file")
    assert MAX_BYTES - MIB <= written <= MAX_BYTES
    assert peak < 8 * MIB


async def test_a_long_film_passes_through_in_pieces(door: Door, database: Database) -> None:
    """Neither the service nor the database ever holds the whole of it: 48 MB here, with every part of the chain in this process."""
    whole = film(60, pad=48 * MIB, index_last=False)
    digest = hashlib.sha256(whole).hexdigest()
    tracemalloc.start()
    try:
        stored = await door.upload(whole, piece=MIB, sha256=digest, size_bytes=len(whole))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stored.size_bytes == len(whole)
    assert peak < 24 * MIB
    assert await rows(database) == (1, 49)


async def test_an_upload_that_was_cut_off_is_forgotten(
    door: Door, database: Database, library: PostgresLibrary
) -> None:
    """A client that goes away leaves pieces that nobody can see, for an hour."""
    until = NOW + ABANDONED
    medium_id = new_id()
    await library.begin(medium_id, "", NOW, until)
    await library.add(medium_id, 0, b"half", until)
    assert (await refusal(door.get(medium_id)))[1] == "MEDIA_NOT_FOUND"
    await prune_media(library, KEEP, door.clock)
    assert await rows(database) == (1, 1)
    await door.clock.advance(ABANDONED)
    await prune_media(library, KEEP, door.clock)
    assert await rows(database) == (0, 0)
    with pytest.raises(NotFound):
        await library.add(medium_id, 1, b"other half", until)


def showing(bot: Bot, state: PostState, *media_ids: str) -> Post:
    """A post that shows these."""
    part = Part(0, "look", media_ids=media_ids)
    due = NOW if state is PostState.SCHEDULED else None
    return Post(new_id(), bot.id, state, (part,), NOW, NOW, due_time=due)


async def test_a_file_stays_while_a_post_needs_it(
    door: Door, posts: PostgresPosts, add_bot: AddBot, library: PostgresLibrary
) -> None:
    """A post that goes out in a year must find its picture; one that is out needs it no more."""
    bot = await add_bot()
    kept: dict[PostState | None, str] = {None: (await door.upload(picture())).id}
    for state in (PostState.SCHEDULED, PostState.DRAFT, PostState.FAILED, PostState.PUBLISHED):
        kept[state] = (await door.upload(picture())).id
        await posts.create(showing(bot, state, kept[state]), (), None)
    both = (await door.upload(picture())).id
    await posts.create(showing(bot, PostState.PUBLISHED, both), (), None)
    await posts.create(showing(bot, PostState.DRAFT, kept[PostState.DRAFT], both), (), None)
    await door.clock.advance(KEEP - timedelta(seconds=1))
    await prune_media(library, KEEP, door.clock)
    assert len(await library.find(list(kept.values()))) == len(kept)
    await door.clock.advance(timedelta(seconds=1))
    await prune_media(library, KEEP + timedelta(days=1), door.clock)
    needed = {kept[PostState.SCHEDULED], kept[PostState.DRAFT], kept[PostState.FAILED], both}
    assert set(await library.find([*kept.values(), both])) == needed
    await door.clock.advance(timedelta(days=2))
    await prune_media(library, KEEP + timedelta(days=1), door.clock)
    assert set(await library.find([*kept.values(), both])) == needed - {kept[PostState.FAILED]}


@pytest.mark.parametrize(
    ("state", "stays"),
    [(ScheduleState.ACTIVE, True), (ScheduleState.PAUSED, True), (ScheduleState.COMPLETED, False)],
)
async def test_a_file_stays_while_a_schedule_is_going_to_show_it(
    door: Door,
    add_bot: AddBot,
    library: PostgresLibrary,
    database: Database,
    state: ScheduleState,
    stays: bool,
) -> None:
    """A birthday's picture is needed once a year; in whatever case, and however deep in the content, it is named."""
    bot = await add_bot()
    kept = [(await door.upload(picture())).id for _ in range(3)]
    post = {"post": {"text": "look", "media_ids": [kept[0].upper()]}}
    pool = {"pool": {"items": [{"text": "a"}, {"parts": [{"text": "b", "media_ids": [kept[1]]}]}]}}
    store = PostgresSchedules(database, "test-1")
    for content in (post, pool):
        yearly = Recurrence(Notation.CRON, "0 9 1 1 *")
        made = Schedule(new_id(), bot.id, yearly, "UTC", NOW, content, NOW, NOW, state)
        await store.create(made, None)
    await door.clock.advance(KEEP)
    await prune_media(library, KEEP, door.clock)
    assert set(await library.find(kept)) == (set(kept[:2]) if stays else set())


async def test_a_post_names_files_that_exist_and_are_for_its_bot(
    door: Door, add_bot: AddBot, library: PostgresLibrary
) -> None:
    """Another bot's file looks like none, and the answer says which of them it is."""
    mine, other = await add_bot("mine"), await add_bot("other")
    shelf = LibraryShelf(library, door.clock)
    anyone = (await door.upload(picture(), alt_text="red")).id
    private = (await door.upload(gif(3), bot_id=other.id)).id
    good = showing(mine, PostState.DRAFT, anyone)
    await shelf.check(mine, good)
    await shelf.check(other, showing(other, PostState.DRAFT, anyone, private))
    for missing in (private, new_id()):
        wrong = await refusal(shelf.check(mine, showing(mine, PostState.DRAFT, anyone, missing)))
        assert wrong == ("NOT_FOUND", "MEDIA_NOT_FOUND", "post.media_ids[1]")
    thread = (Part(0, "a", media_ids=(anyone,)), Part(1, "b", media_ids=(private,)))
    post = Post(new_id(), mine.id, PostState.DRAFT, thread, NOW, NOW)
    assert (await refusal(shelf.check(mine, post)))[2] == "post.parts[1].media_ids[0]"
    assert await shelf.facts((anyone, private, new_id())) == {
        anyone: MediaFacts(MediaKind.IMAGE, MediaState.READY, True),
        private: MediaFacts(MediaKind.GIF, MediaState.READY, False),
    }


async def test_a_file_that_a_post_was_held_against_is_still_there_when_the_post_is_stored(
    door: Door, add_bot: AddBot, library: PostgresLibrary
) -> None:
    """Between the check and the post, housekeeping must not come by."""
    bot, medium_id = await add_bot(), (await door.upload(picture())).id
    await door.clock.advance(KEEP)
    await LibraryShelf(library, door.clock).check(bot, showing(bot, PostState.DRAFT, medium_id))
    await prune_media(library, KEEP, door.clock)
    assert medium_id in await library.find([medium_id])
