"""Bots, posts, lists and readings on a real PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from mesh.database import Database
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from mesh.ids import new_id
from services.bot_manager.domain import rules
from services.bot_manager.domain.filters import BOT_FIELDS, POST_FIELDS, parse_filter
from services.bot_manager.domain.lifecycle import BotEvent
from services.bot_manager.domain.listing import Query
from services.bot_manager.domain.model import (
    Answer,
    AttemptOutcome,
    Bot,
    BotState,
    Change,
    Counters,
    CredentialsStatus,
    Part,
    Post,
    PostState,
    Reading,
    StateDetail,
)
from services.bot_manager.store.bots import PostgresBots
from services.bot_manager.store.ledger import PostgresLedger
from services.bot_manager.store.metrics import PostgresMetrics
from services.bot_manager.store.ports import Finish, Intent, RequestKey
from services.bot_manager.store.posts import PostgresPosts

from .conftest import NOW, AddBot, AddPost

LEASE = timedelta(seconds=30)


def bot(handle: str) -> Bot:
    return Bot(new_id(), handle, BotState.DRAFT, NOW, NOW)


def post(owner: Bot) -> Post:
    return Post(new_id(), owner.id, PostState.DRAFT, (Part(0, "hello"),), NOW, NOW)


def key(request_id: str, asked: bytes = b"same") -> RequestKey:
    return RequestKey(request_id, "Create", "user-1", asked)


async def archive(bots: PostgresBots, bot_id: str) -> Bot:
    def edit(bot: Bot) -> Bot:
        return replace(bot, state=BotState.ARCHIVED, state_detail=StateDetail(actor="user-1"))

    return await bots.change(bot_id, edit, NOW, settled=True)


async def test_a_bot_comes_back_as_it_was_stored(bots: PostgresBots) -> None:
    """Nothing that a person said gets lost."""
    stored = replace(
        bot("Acme"),
        display_name="Acme news",
        time_zone="Europe/Zurich",
        language="de-CH",
        labels={"team": "news"},
        policy={"max_lateness": "60s"},
        automation={"label_enabled": True},
        slots=({"at": "09:00"},),
        credentials=CredentialsStatus("OAUTH1", 2, True, NOW),
        state_detail=StateDetail("", "made", "user-1", NOW),
        creator="user-1",
    )
    await bots.create(stored, None)
    assert await bots.get(stored.id) == stored
    with pytest.raises(NotFound):
        await bots.get(new_id())


async def test_a_handle_is_taken_until_its_bot_is_archived(bots: PostgresBots) -> None:
    """Two bots on one account would publish against each other."""
    first = await bots.create(bot("Acme"), None)
    with pytest.raises(AlreadyExists) as taken:
        await bots.create(bot("aCME"), None)
    assert taken.value.reason == "HANDLE_TAKEN"
    other = await bots.create(bot("other"), None)
    with pytest.raises(AlreadyExists):
        await bots.change(other.id, lambda one: replace(one, handle="ACME"), NOW)
    await archive(bots, first.id)
    await bots.create(bot("acme"), None)


async def test_a_repeated_create_answers_the_first_result(bots: PostgresBots, posts: PostgresPosts) -> None:
    """A client that did not hear the answer must not make two, even if both calls run at once."""
    request = new_id()
    made = await asyncio.gather(*(bots.create(bot("acme"), key(request)) for _ in range(4)))
    assert len({one.id for one in made}) == 1
    with pytest.raises(InvalidArgument) as reused:
        await bots.create(bot("other"), key(request, b"another"))
    assert reused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    request = new_id()
    assert await posts.recall(key(request), NOW) is None
    first = await posts.create(post(made[0]), (), key(request))
    assert await posts.create(post(made[0]), (), key(request)) == first
    assert await posts.recall(key(request), NOW) == first
    assert await posts.recall(key(request), NOW + timedelta(hours=24)) is None


async def test_archiving_calls_off_what_waits_and_refuses_what_is_under_way(
    bots: PostgresBots, posts: PostgresPosts, ledger: PostgresLedger, add_bot: AddBot, add_post: AddPost
) -> None:
    """A retired bot publishes nothing more, and nothing is retired while X may be hearing of it."""
    owner = await add_bot()
    post = await add_post(owner)
    [claim] = await ledger.claim_due("claimer", NOW, LEASE, 10)
    with pytest.raises(FailedPrecondition) as refused:
        await archive(bots, owner.id)
    assert refused.value.reason == "INVALID_STATE"
    [taken] = await ledger.take([claim], "worker", NOW, LEASE)
    await ledger.reap_leases(NOW + LEASE, 10)
    assert (await archive(bots, owner.id)).state is BotState.ARCHIVED
    assert (await posts.get(post.id)).state is PostState.CANCELLED
    assert taken.bot.id == owner.id


async def test_x_refusing_credentials_stops_the_bot(bots: PostgresBots, add_bot: AddBot) -> None:
    """And says so; a bot that a person paused stays paused."""
    active, paused = await add_bot(), await add_bot("paused", BotState.PAUSED)
    for one in (active, paused):
        await bots.note_credentials(one.id, CredentialsStatus("OAUTH1", 1, True, NOW), NOW)
        await bots.apply(one.id, BotEvent.REFUSE_CREDENTIALS, NOW, "X_CREDENTIALS_REJECTED", "401")
    active, paused = await bots.get(active.id), await bots.get(paused.id)
    assert (active.state, active.state_detail.reason) == (BotState.REAUTH_REQUIRED, "X_CREDENTIALS_REJECTED")
    assert paused.state is BotState.PAUSED
    for one in (active, paused):
        assert one.credentials is not None
        assert not one.credentials.verified


@pytest.mark.parametrize("order", ["create_time", "scheduled_time", "publish_time"])
@pytest.mark.parametrize("descending", [False, True])
async def test_pages_neither_skip_nor_repeat(
    posts: PostgresPosts, add_bot: AddBot, add_post: AddPost, order: str, descending: bool
) -> None:
    """In every order, with equal times and with none."""
    owner = await add_bot()
    times = [NOW, NOW, NOW + timedelta(hours=1), None, None, NOW - timedelta(hours=1), NOW]
    made = {(await add_post(owner, due=due)).id for due in times}
    seen: list[Post] = []
    query = Query((), order, descending, 2)
    while True:
        page = await posts.list(query)
        seen += page.rows
        if page.next is None:
            break
        query = replace(query, after=page.next)
    assert len(seen) == len(made)
    assert {one.id for one in seen} == made
    known = [value for one in seen if (value := getattr(one, order)) is not None]
    assert known == sorted(known, reverse=descending)
    assert all(getattr(one, order) is None for one in seen[len(known) :])


async def test_filters_find_what_they_name(
    bots: PostgresBots, posts: PostgresPosts, add_bot: AddBot, add_post: AddPost
) -> None:
    """Each comparison restricts."""
    owner = await add_bot("Acme")
    await bots.change(owner.id, lambda one: replace(one, labels={"team": "news"}), NOW)
    await add_bot("other", BotState.PAUSED)
    for text in (
        'state = ACTIVE AND labels.team = "news"',
        "handle = aCmE",
        "handle : CM",
        "state != PAUSED",
    ):
        page = await bots.list(Query(parse_filter(text, BOT_FIELDS), "handle", False, 10))
        assert [one.handle for one in page.rows] == ["Acme"], text
    due = await add_post(owner, "100% sure", "second part")
    await add_post(owner, "a draft", due=None)
    for text in (
        "state = POST_STATE_SCHEDULED",
        'text : "100% S"',
        "text : second",
        'scheduled_time < "2027-01-01T00:00:00Z" AND origin = MANUAL',
    ):
        found = await posts.list(Query(parse_filter(text, POST_FIELDS), "create_time", True, 10))
        assert [one.id for one in found.rows] == [due.id], text


async def test_an_edit_replaces_the_parts(posts: PostgresPosts, add_bot: AddBot, add_post: AddPost) -> None:
    """A thread may get longer or shorter, and the story tells of it."""
    stored = await add_post(await add_bot(), "one", "two")
    for texts in (("one", "zwei", "three"), ("one",)):
        draft = rules.Draft(parts=tuple(map(rules.DraftPart, texts)), scheduled_time=stored.scheduled_time)

        def edit(post: Post, draft: rules.Draft = draft) -> Change:
            return rules.edited(
                post,
                rules.revise(post, draft, NOW - timedelta(hours=1), timedelta(hours=1)),
                "user-1",
                waits=False,
            )

        after = await posts.change(stored.id, edit, NOW)
        assert tuple(part.text for part in after.parts) == texts
        assert await posts.get(stored.id) == after
    assert [entry.kind for entry in await posts.story(stored.id, 0, 10)][-2:] == ["EDITED", "EDITED"]
    await posts.delete(stored.id, lambda post: None, NOW)
    with pytest.raises(NotFound):
        await posts.get(stored.id)


async def test_readings_are_summed_over_parts(
    database: Database, ledger: PostgresLedger, add_bot: AddBot, add_post: AddPost
) -> None:
    """The last reading of each part counts, whenever it was read."""
    metrics = PostgresMetrics(database)
    owner = await add_bot()
    stored = await add_post(owner, "one", "two")
    [taken] = await ledger.take(await ledger.claim_due("claimer", NOW, LEASE, 10), "worker", NOW, LEASE)
    for part, x_post_id in enumerate(("11", "12")):
        intent = Intent(stored.id, part, taken.post.claim_fence, "hash")
        [attempt] = await ledger.begin_attempts([intent], "worker", NOW, LEASE)
        answer = Answer(AttemptOutcome.ACCEPTED, 201, x_post_id=x_post_id)
        await ledger.finish_attempts([Finish(attempt, answer)], NOW, LEASE)  # type: ignore[arg-type]  # no refusal here
    found = await metrics.published_parts(owner.id, NOW, 10)
    assert [(one.part_index, one.x_post_id) for one in found] == [(0, "11"), (1, "12")]
    later = NOW + timedelta(hours=1)
    first = Reading(stored.id, "11", NOW, Counters(impressions=10, likes=1))
    last = Reading(stored.id, "11", later, Counters(impressions=30, likes=2))
    other = Reading(stored.id, "12", NOW, Counters(impressions=5))
    for _ in range(2):
        await metrics.add([first, last, other])
    assert await metrics.latest_of_post(stored.id) == [last, other]
    assert await metrics.of_post(stored.id, None, None, 10) == [other, first, last] or [first, other, last]
    day = timedelta(days=1)
    assert await metrics.latest_of_bot(owner.id, NOW - day, NOW + day) == (
        1,
        Counters(impressions=35, likes=2),
        later,
    )
    assert await metrics.of_bot(owner.id, later, NOW + day) == [first, other, last]
    assert await metrics.mark_gone(["12", "13"], later) == [stored.id]
    assert await metrics.gone(stored.id)
    assert await metrics.gone_since(owner.id, NOW) == [stored.id]
    assert [one.x_post_id for one in await metrics.published_parts(owner.id, NOW, 10)] == ["11"]
    assert await metrics.foreign(owner.id, [stored.id, owner.id]) == [owner.id]
