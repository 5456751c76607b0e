"""The contract over the real chain: mutual TLS, tokens, permissions, validation; PostgreSQL behind."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import dayofweek_pb2

from mesh.database import Database
from mesh.errors import FailedPrecondition, MeshError, Unavailable
from mesh.ids import new_id
from mesh.status import from_rpc_error
from services.bot_manager.domain.bots import Bots
from services.bot_manager.domain.credentials import Credentials
from services.bot_manager.domain.importing import Imports
from services.bot_manager.domain.model import PostState
from services.bot_manager.domain.posts import Posts
from services.bot_manager.domain.previewing import Previews
from services.bot_manager.domain.resolving import Resolving
from services.bot_manager.events.hub import Hub
from services.bot_manager.events.reading import StoredEvents
from services.bot_manager.events.ticks import Ticks
from services.bot_manager.servicers.bots import BotServicer
from services.bot_manager.servicers.posts import PostServicer
from services.bot_manager.servicers.statistics import StatisticsServicer
from services.bot_manager.servicers.watching import Watching
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.imports import PostgresImports
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.metric_lists import PostgresMetricLists
from services.bot_manager.store.metrics import PostgresMetrics
from services.bot_manager.store.ports import Intent
from services.bot_manager.store.posts import PostgresPosts
from services.bot_manager.store.reading_times import PostgresReadingTimes
from services.bot_manager.x.port import XAccount
from tests.fakes.apps import NoApps
from tests.fakes.clock import ManualClock
from tests.fakes.making import PLAIN
from tests.fakes.mesh import serving
from vivesphere.bot_manager.v1 import (
    bot_pb2,
    bot_service_pb2,
    bot_service_pb2_grpc,
    credentials_pb2,
    post_pb2,
    post_service_pb2,
    post_service_pb2_grpc,
    statistics_service_pb2,
    statistics_service_pb2_grpc,
    timeline_pb2,
    wall_time_pb2,
)

from .conftest import NOW
from .connecting import flow_of
from .fakes import FakeFetcher, FakeSecrets, FakeX

NAMES = [f"vivesphere.bot_manager.v1.{name}Service" for name in ("Bot", "Post", "Statistics")]
ROLES = {"operator": frozenset({"bots.*", "posts.*", "statistics.*"}), "viewer": frozenset({"posts.read"})}
OAUTH1 = credentials_pb2.OAuth1Credentials(
    consumer_key="ck", consumer_secret="cs", access_token="at", access_token_secret="as"
)
ACTIVE, DRAFT = bot_pb2.BOT_STATE_ACTIVE, bot_pb2.BOT_STATE_DRAFT


@dataclass
class Door:
    """Stubs of a caller with a token, and what stands behind the service."""

    bots: Any
    posts: Any
    statistics: Any
    x: FakeX
    secrets: FakeSecrets
    clock: ManualClock
    token: str
    viewer: str
    woken: list[bool]

    async def call(self, method: Any, request: Any, token: str | None = None) -> Any:
        """Raises the MeshError that the service raised."""
        try:
            return await method(
                request, timeout=5, metadata=(("authorization", f"Bearer {token or self.token}"),)
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def bot(self, handle: str = "acme", *, connected: bool = True) -> bot_pb2.Bot:
        """A new bot, ACTIVE if connected."""
        request = bot_service_pb2.CreateBotRequest(bot=bot_pb2.Bot(handle=handle))
        bot = (await self.call(self.bots.CreateBot, request)).bot
        if connected:
            await self.call(
                self.bots.SetCredentials,
                bot_service_pb2.SetCredentialsRequest(bot_id=bot.id, oauth1=OAUTH1),
            )
            bot = (await self.call(self.bots.GetBot, bot_service_pb2.GetBotRequest(bot_id=bot.id))).bot
        return bot

    async def post(self, bot: bot_pb2.Bot, text: str = "hello", **fields: Any) -> post_pb2.Post:
        """A new post; `fields` are those of the request."""
        message = fields.pop("post", None) or post_pb2.Post(text=text)
        request = post_service_pb2.CreatePostRequest(bot_id=bot.id, post=message, **fields)
        return (await self.call(self.posts.CreatePost, request)).post


@pytest.fixture
async def door(database: Database, tmp_path: Path) -> AsyncIterator[Door]:
    clock, x, secrets, woken = ManualClock(NOW), FakeX(), FakeSecrets(), []
    bots, posts = PostgresBots(database, "test-1"), PostgresPosts(database, "test-1")
    metrics = PostgresMetrics(database)
    credentials = Credentials(bots, secrets, x, NoApps(), clock)
    secret = b"page secret of the test"
    hub = Hub(Ticks(database), StoredEvents(database), lambda: 1, clock)

    def wake() -> None:
        woken.append(True)

    def lateness() -> timedelta:
        return timedelta(hours=1)

    servicers = [
        (
            bot_service_pb2_grpc.add_BotServiceServicer_to_server,
            BotServicer(
                Bots(bots, clock, new_id),
                credentials,
                flow_of(database, credentials, clock),
                secret,
                stopped=lambda bot_id: None,
                wake=wake,
            ),
        ),
        (
            post_service_pb2_grpc.add_PostServiceServicer_to_server,
            PostServicer(
                Posts(posts, bots, clock, new_id, lateness, PLAIN),
                secret,
                previews=Previews(PLAIN, bots, clock),
                imports=Imports(PostgresImports(database, "test-1"), bots, clock, new_id, lateness, PLAIN),
                resolving=Resolving(posts, bots, clock, lateness),
                watching=Watching(hub, bots, secret),
                wake=wake,
            ),
        ),
        (
            statistics_service_pb2_grpc.add_StatisticsServiceServicer_to_server,
            StatisticsServicer(
                bots,
                posts,
                metrics,
                PostgresMetricLists(database),
                PostgresReadingTimes(database),
                FakeFetcher(),
                clock,
                secret,
            ),
        ),
    ]
    async with (
        serving(tmp_path, "bot_manager", NAMES, servicers, roles=ROLES) as server,
        server.channel("gateway", "bot_manager") as channel,
    ):
        yield Door(
            bot_service_pb2_grpc.BotServiceStub(channel),
            post_service_pb2_grpc.PostServiceStub(channel),
            statistics_service_pb2_grpc.StatisticsServiceStub(channel),
            x,
            secrets,
            clock,
            server.issuer.token("operator"),
            server.issuer.token("viewer"),
            woken,
        )


async def refusal(awaitable: Awaitable[Any]) -> tuple[str, str, str]:
    """Code, reason and first field of the error."""
    with pytest.raises(MeshError) as refused:
        await awaitable
    error = refused.value
    return error.code, error.reason, error.violations[0].field if error.violations else ""


def at(offset: timedelta) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(NOW + offset)
    return timestamp


async def test_the_first_credentials_that_verify_make_a_bot_active(door: Door) -> None:
    """Connecting an account is one step; whose it is is known from then on."""
    bot = await door.bot(connected=False)
    assert bot.state == DRAFT
    request = bot_service_pb2.SetCredentialsRequest(bot_id=bot.id, oauth1=OAUTH1)
    answer = await door.call(door.bots.SetCredentials, request)
    assert (answer.version, answer.verified, answer.x_user_id, answer.handle, answer.state) == (
        1,
        True,
        "4711",
        "acme",
        ACTIVE,
    )
    assert "access_token_secret" not in str(answer)


async def test_refused_credentials_are_not_stored(door: Door) -> None:
    """Nothing that X refuses is kept; what X could not be asked about is kept unverified."""
    bot = await door.bot(connected=False)
    request = bot_service_pb2.SetCredentialsRequest(bot_id=bot.id, oauth1=OAUTH1)
    door.x.fail_next(FailedPrecondition("X_CREDENTIALS_REJECTED", "X refused the credentials"))
    code, reason, _ = await refusal(door.call(door.bots.SetCredentials, request))
    assert (code, reason, door.secrets.versions) == ("FAILED_PRECONDITION", "X_CREDENTIALS_REJECTED", {})
    door.x.fail_next(Unavailable("X_UNAVAILABLE", "X does not answer"))
    answer = await door.call(door.bots.SetCredentials, request)
    assert (answer.verified, answer.version, answer.state) == (False, 1, DRAFT)
    verify = bot_service_pb2.VerifyCredentialsRequest(bot_id=bot.id)
    assert (await door.call(door.bots.VerifyCredentials, verify)).state == ACTIVE
    door.x.fail_next(FailedPrecondition("X_CREDENTIALS_REJECTED", "token revoked"))
    found = await door.call(door.bots.VerifyCredentials, verify)
    assert (found.verified, found.failure_message) == (False, "token revoked")
    assert found.state == bot_pb2.BOT_STATE_REAUTH_REQUIRED


async def test_credentials_of_another_account_are_refused(door: Door) -> None:
    """A bot never changes its account; its handle follows the account."""
    bot = await door.bot()
    door.x.account = type(door.x.account)("4711", "acme_renamed")
    request = bot_service_pb2.SetCredentialsRequest(bot_id=bot.id, oauth1=OAUTH1)
    assert (await door.call(door.bots.SetCredentials, request)).handle == "acme_renamed"
    found = (await door.call(door.bots.GetBot, bot_service_pb2.GetBotRequest(bot_id=bot.id))).bot
    assert found.handle == "acme_renamed"
    door.x.account = type(door.x.account)("4712", "acme")
    assert (await refusal(door.call(door.bots.SetCredentials, request)))[1] == "X_ACCOUNT_MISMATCH"


async def test_bad_input_is_named_and_nothing_is_written(door: Door) -> None:
    """Code, reason and field, over every way in."""
    bot = await door.bot()
    unknown = new_id()
    call, bots, posts = door.call, door.bots, door.posts
    invalid, gone = "INVALID_ARGUMENT", "NOT_FOUND"
    past = post_pb2.Post(text="late", scheduled_time=at(timedelta(seconds=-1)))
    both = post_pb2.Post(text="both", scheduled_time=at(timedelta(hours=1)))
    create = bot_service_pb2.CreateBotRequest
    cases = [
        (door.post(bot, post=past), (invalid, "TIME_IN_PAST", "post.scheduled_time")),
        (door.post(bot, post=both, publish_now=True), (invalid, "CONFLICTING_FIELD", "publish_now")),
        (door.post(bot, post=both, next_free_slot=True), (invalid, "CONFLICTING_FIELD", "next_free_slot")),
        (door.post(bot, next_free_slot=True), ("FAILED_PRECONDITION", "NO_FREE_SLOT", "next_free_slot")),
        (door.post(bot, " "), (invalid, "INVALID_FIELD", "post.text")),
        (
            door.post(bot, post=post_pb2.Post(media_ids=[unknown])),
            (invalid, "INVALID_FIELD", "post.media_ids"),
        ),
        (door.post(bot_pb2.Bot(id="no uuid")), (invalid, "INVALID_FIELD", "bot_id")),
        (door.post(bot_pb2.Bot(id=unknown)), (gone, "BOT_NOT_FOUND", "")),
        (call(posts.GetPost, post_service_pb2.GetPostRequest(post_id=unknown)), (gone, "POST_NOT_FOUND", "")),
        (call(bots.CreateBot, create(bot=bot_pb2.Bot())), (invalid, "INVALID_FIELD", "bot.handle")),
        (
            call(bots.CreateBot, create(bot=bot_pb2.Bot(handle="x", time_zone="Mars/Base"))),
            (invalid, "INVALID_FIELD", "bot.time_zone"),
        ),
        (
            call(bots.CreateBot, create(bot=bot_pb2.Bot(handle="ACME"))),
            ("ALREADY_EXISTS", "HANDLE_TAKEN", "bot.handle"),
        ),
        (
            call(posts.ListPosts, post_service_pb2.ListPostsRequest(filter="x")),
            (invalid, "INVALID_FILTER", "filter"),
        ),
        (
            call(posts.ListPosts, post_service_pb2.ListPostsRequest(page_token="x")),
            (invalid, "INVALID_PAGE_TOKEN", "page_token"),
        ),
    ]
    for awaitable, expected in cases:
        assert await refusal(awaitable) == expected
    assert not (await call(posts.ListPosts, post_service_pb2.ListPostsRequest())).posts


async def test_a_post_now_needs_an_active_bot(door: Door) -> None:
    """A draft may be written for any bot, and a post for later may wait for it."""
    bot = await door.bot(connected=False)
    code, reason, _ = await refusal(door.post(bot, publish_now=True))
    assert (code, reason) == ("FAILED_PRECONDITION", "CREDENTIALS_MISSING")
    assert (await door.post(bot)).state == post_pb2.POST_STATE_DRAFT
    door.x.account = XAccount("4712", "other")
    connected = await door.bot("other")
    await door.call(door.bots.PauseBot, bot_service_pb2.PauseBotRequest(bot_id=connected.id))
    assert (await refusal(door.post(connected, publish_now=True)))[1] == "INVALID_STATE"
    door.woken.clear()
    await door.call(door.bots.ActivateBot, bot_service_pb2.ActivateBotRequest(bot_id=connected.id))
    now = await door.post(connected, publish_now=True)
    assert now.state == post_pb2.POST_STATE_SCHEDULED
    assert now.scheduled_time == at(timedelta())
    assert len(door.woken) == 2


async def test_a_repeat_answers_the_first_result_even_when_its_time_has_passed(door: Door) -> None:
    """A client that repeats for an hour must not be told that its time is in the past."""
    bot, request_id = await door.bot(), new_id()
    message = post_pb2.Post(text="soon", scheduled_time=at(timedelta(minutes=1)))
    first = await door.post(bot, post=message, request_id=request_id)
    await door.clock.advance(timedelta(hours=1))
    assert await door.post(bot, post=message, request_id=request_id) == first
    assert (await refusal(door.post(bot, "other", request_id=request_id))) == (
        "INVALID_ARGUMENT",
        "IDEMPOTENCY_KEY_REUSED",
        "request_id",
    )


async def test_an_update_with_an_old_etag_is_refused(door: Door) -> None:
    """Two people do not overwrite each other."""
    bot = await door.bot()
    post = await door.post(bot)
    post.text = post.parts[0].text = "changed"
    request = post_service_pb2.UpdatePostRequest(post_id=post.id, post=post)
    changed = (await door.call(door.posts.UpdatePost, request)).post
    assert (changed.text, changed.etag != post.etag) == ("changed", True)
    assert (await refusal(door.call(door.posts.UpdatePost, request)))[:2] == ("ABORTED", "ETAG_MISMATCH")
    update = bot_service_pb2.UpdateBotRequest(
        bot_id=bot.id, bot=bot_pb2.Bot(display_name="News", etag=bot.etag)
    )
    assert (await door.call(door.bots.UpdateBot, update)).bot.display_name == "News"
    assert (await refusal(door.call(door.bots.UpdateBot, update)))[1] == "ETAG_MISMATCH"


async def test_a_post_is_called_off_tried_again_and_deleted(door: Door) -> None:
    """And its timeline tells who did what."""
    bot = await door.bot()
    post = await door.post(bot, publish_now=True)
    cancel = post_service_pb2.CancelPostRequest(post_id=post.id, reason="not true")
    cancelled = (await door.call(door.posts.CancelPost, cancel)).post
    assert cancelled.state == post_pb2.POST_STATE_CANCELLED
    assert (await door.call(door.posts.CancelPost, cancel)).post == cancelled
    retry = post_service_pb2.RetryPostRequest(post_id=post.id, request_id=new_id())
    again = (await door.call(door.posts.RetryPost, retry)).post
    assert again.state == post_pb2.POST_STATE_SCHEDULED
    assert (await door.call(door.posts.RetryPost, retry)).post == again
    entries, token = [], ""
    while True:
        page = await door.call(
            door.posts.GetPostTimeline,
            post_service_pb2.GetPostTimelineRequest(post_id=post.id, page_size=2, page_token=token),
        )
        entries += page.entries
        token = page.next_page_token
        if not token:
            break
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[2].decision.comment == "not true"
    assert all(entry.actor and entry.request_id for entry in entries)
    await door.call(door.posts.DeletePost, post_service_pb2.DeletePostRequest(post_id=post.id))
    get = post_service_pb2.GetPostRequest(post_id=post.id)
    assert (await refusal(door.call(door.posts.GetPost, get)))[1] == "POST_NOT_FOUND"


async def test_lists_are_paged_and_scoped(door: Door) -> None:
    """Across bots and of one bot; archived bots show only when asked for; a token belongs to its list."""
    first, second = await door.bot("acme"), await door.bot("other", connected=False)
    made = [(await door.post(bot, f"post {n}")).id for n, bot in enumerate((first, second, first))]
    request = post_service_pb2.ListPostsRequest(page_size=2)
    page = await door.call(door.posts.ListPosts, request)
    rest = await door.call(
        door.posts.ListPosts, post_service_pb2.ListPostsRequest(page_size=2, page_token=page.next_page_token)
    )
    assert {post.id for post in (*page.posts, *rest.posts)} == set(made)
    own = await door.call(door.posts.ListPosts, post_service_pb2.ListPostsRequest(bot_id=first.id.upper()))
    assert {post.id for post in own.posts} == {made[0], made[2]}
    foreign = post_service_pb2.ListPostsRequest(bot_id=first.id, page_token=page.next_page_token)
    assert (await refusal(door.call(door.posts.ListPosts, foreign)))[1] == "INVALID_PAGE_TOKEN"
    await door.call(door.bots.ArchiveBot, bot_service_pb2.ArchiveBotRequest(bot_id=second.id))
    assert (await refusal(door.post(second)))[1] == "BOT_ARCHIVED"
    listed = (await door.call(door.bots.ListBots, bot_service_pb2.ListBotsRequest())).bots
    assert [bot.handle for bot in listed] == ["acme"]
    archived = bot_service_pb2.ListBotsRequest(filter="state = ARCHIVED")
    assert [bot.id for bot in (await door.call(door.bots.ListBots, archived)).bots] == [second.id]


async def test_statistics_are_empty_before_the_first_reading(door: Door) -> None:
    """Absent is not zero."""
    bot = await door.bot()
    post = await door.post(bot)
    of_post = await door.call(
        door.statistics.GetPostStatistics,
        statistics_service_pb2.GetPostStatisticsRequest(post_id=post.id),
    )
    assert not of_post.HasField("latest")
    assert not of_post.series
    of_bot = await door.call(
        door.statistics.GetBotStatistics, statistics_service_pb2.GetBotStatisticsRequest(bot_id=bot.id)
    )
    assert of_bot.totals.posts == 0
    foreign = statistics_service_pb2.RefreshStatisticsRequest(bot_id=bot.id, post_ids=[new_id()])
    assert (await refusal(door.call(door.statistics.RefreshStatistics, foreign)))[1] == "POST_NOT_FOUND"


async def test_without_the_permission_nothing_is_told(door: Door) -> None:
    """A viewer sees posts and changes none."""
    post = await door.post(await door.bot())
    get = post_service_pb2.GetPostRequest(post_id=post.id)
    assert (await door.call(door.posts.GetPost, get, door.viewer)).post == post
    cancel = post_service_pb2.CancelPostRequest(post_id=post.id)
    code, reason, _ = await refusal(door.call(door.posts.CancelPost, cancel, door.viewer))
    assert (code, reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")


async def test_a_person_settles_an_unknown_outcome_once(door: Door, ledger: PostgresLedger) -> None:
    """The word is kept with its author; a repeat changes nothing; an id is one part's only."""
    bot = await door.bot()
    posts = [await door.post(bot, text, publish_now=True) for text in ("one", "two", "three", "four")]
    assert {one.id for one in posts} == set(await lose_track(ledger, door.clock))
    resolve, call, pb = door.posts.ResolvePost, door.call, post_service_pb2
    found, again, gone, wrong = (one.id for one in posts)
    published = pb.ResolvePostRequest(
        post_id=found,
        resolution=timeline_pb2.POST_RESOLUTION_PUBLISHED,
        x_post_id="1800000000000000000",
        comment="seen on the profile",
        request_id=new_id(),
    )
    first = (await call(resolve, published)).post
    assert (first.state, list(first.x_post_ids)) == (post_pb2.POST_STATE_PUBLISHED, [published.x_post_id])
    assert (await call(resolve, published)).post == first
    cases = [
        ({"resolution": "PUBLISHED"}, ("INVALID_ARGUMENT", "INVALID_FIELD", "x_post_id")),
        (
            {"resolution": "PUBLISHED", "x_post_id": "1800000000000000000"},
            ("FAILED_PRECONDITION", "INVALID_STATE", "x_post_id"),
        ),
        ({"resolution": "GIVE_UP", "etag": "old"}, ("ABORTED", "ETAG_MISMATCH", "etag")),
        ({"resolution": "GIVE_UP", "post_id": found}, ("FAILED_PRECONDITION", "INVALID_STATE", "")),
        (
            {"resolution": "GIVE_UP", "request_id": published.request_id},
            ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED", "request_id"),
        ),
        ({"resolution": "GIVE_UP", "post_id": new_id()}, ("NOT_FOUND", "POST_NOT_FOUND", "")),
    ]
    for fields, expected in cases:
        resolution = timeline_pb2.PostResolution.Value(f"POST_RESOLUTION_{fields.pop('resolution')}")
        request = pb.ResolvePostRequest(**{"post_id": wrong, "resolution": resolution, **fields})
        assert await refusal(call(resolve, request)) == expected
    door.woken.clear()
    request = pb.ResolvePostRequest(post_id=again, resolution=timeline_pb2.POST_RESOLUTION_SEND_AGAIN)
    assert (await call(resolve, request)).post.state == post_pb2.POST_STATE_SCHEDULED
    assert door.woken == [True]
    request = pb.ResolvePostRequest(post_id=gone, resolution=timeline_pb2.POST_RESOLUTION_GIVE_UP)
    assert (await call(resolve, request)).post.state == post_pb2.POST_STATE_FAILED
    timeline = (await call(door.posts.GetPostTimeline, pb.GetPostTimelineRequest(post_id=found))).entries
    [told] = [entry for entry in timeline if entry.kind == timeline_pb2.TIMELINE_KIND_RESOLVED]
    assert told.decision.comment == "seen on the profile"
    assert told.decision.x_post_id == published.x_post_id
    assert told.actor != "bot_manager"


async def lose_track(ledger: PostgresLedger, clock: ManualClock) -> list[str]:
    """Posts that are due are begun, and their worker dies; their ids."""
    lease = timedelta(seconds=30)
    claims = await ledger.claim_due("w", clock.now(), lease, 10)
    intents = [Intent(claim.post_id, 0, claim.fence, "hash") for claim in claims]
    await ledger.begin_attempts(intents, "w", clock.now(), lease)
    ended = await ledger.reap_leases(clock.now() + lease, 10)
    assert set(ended.values()) == {PostState.UNKNOWN}
    return list(ended)


async def test_slots_windows_and_pace_are_kept_as_they_were_said(door: Door) -> None:
    """And the next free slot is found by them: NOW is a Friday noon, the weekend is silent, Monday 08:00 is taken."""
    days = [dayofweek_pb2.FRIDAY, dayofweek_pb2.SATURDAY, dayofweek_pb2.SUNDAY]
    given = bot_pb2.Bot(
        handle="acme",
        slots=[wall_time_pb2.Slot(at="08:00"), wall_time_pb2.Slot(at="09:30", days=[dayofweek_pb2.MONDAY])],
        policy=bot_pb2.PostingPolicy(
            blackout_windows=[wall_time_pb2.BlackoutWindow(days=days)],
            min_interval={"seconds": 600},
            max_posts_per_day=2,
        ),
    )
    bot = (await door.call(door.bots.CreateBot, bot_service_pb2.CreateBotRequest(bot=given))).bot
    assert (bot.slots, bot.policy) == (given.slots, given.policy)
    monday = timedelta(days=2, hours=20)
    made = [await door.post(bot, next_free_slot=True) for _ in range(3)]
    assert [post.scheduled_time for post in made] == [
        at(monday),
        at(monday + timedelta(hours=1.5)),
        at(monday + timedelta(days=1)),
    ]
    assert {post.state for post in made} == {post_pb2.POST_STATE_SCHEDULED}
