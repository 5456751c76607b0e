"""Policy checks and previews over the real chain: what is refused, what is only told, and that the preview is what is sent."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.database import Database
from mesh.ids import new_id
from services.bot_manager.domain.media import MediaKind, MediaState, Medium
from vivesphere.bot_manager.v1 import policy_pb2, post_pb2
from vivesphere.bot_manager.v1 import post_service_pb2 as pb

from .conftest import NOW
from .desk import ANN, HOUR, Desk, at, desk_of, refusal

SENTENCE = "The harbour master says that the ferry to the islands leaves at noon from pier four."
VIOLATION = ("POLICY_VIOLATION", "post.text")


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_of(database, tmp_path) as made:
        yield made


async def preview(desk: Desk, post: post_pb2.Post, bot_id: str = "") -> pb.PreviewPostResponse:
    answer: pb.PreviewPostResponse = await desk.call(
        "PreviewPost", pb.PreviewPostRequest(bot_id=bot_id, post=post)
    )
    return answer


async def test_a_text_is_not_said_twice(desk: Desk) -> None:
    """Neither by the bot within its cool-down, nor by another; a draft may say what it likes, and so may who was called off."""
    bot, other = await desk.bot(), await desk.bot("other")
    first = await desk.post(bot, SENTENCE)
    assert await refusal(desk.post(bot, SENTENCE.upper())) == VIOLATION
    assert await refusal(desk.post(other, SENTENCE)) == VIOLATION
    draft = await desk.post(bot, post=post_pb2.Post(text=SENTENCE))
    [finding] = draft.findings
    assert (finding.rule, finding.other_post_id) == (policy_pb2.POLICY_RULE_DUPLICATE, first.id)
    assert await desk.kinds(draft.id) == ["CREATED", "POLICY_CHECKED"]
    late = post_pb2.Post(text=SENTENCE, scheduled_time=at(14 * HOUR))
    assert (await desk.post(bot, post=late)).state == post_pb2.POST_STATE_SCHEDULED
    await desk.call("CancelPost", pb.CancelPostRequest(post_id=first.id))
    assert (await desk.post(bot, SENTENCE)).state == post_pb2.POST_STATE_SCHEDULED


async def test_a_text_that_is_nearly_the_same_is_told(desk: Desk) -> None:
    """As a warning, with the post that it is like."""
    bot, other = await desk.bot(), await desk.bot("other")
    first = await desk.post(bot, SENTENCE)
    [finding] = (await desk.post(other, SENTENCE.replace("noon", "nine"))).findings
    assert (finding.rule, finding.severity, finding.other_post_id) == (
        policy_pb2.POLICY_RULE_NEAR_DUPLICATE,
        policy_pb2.FINDING_SEVERITY_WARNING,
        first.id,
    )


async def test_what_is_changed_is_checked_again(desk: Desk) -> None:
    """By its new text, and not against itself."""
    bot = await desk.bot()
    first, second = await desk.post(bot, "one"), await desk.post(bot, "two")

    def update(post: post_pb2.Post, text: str) -> pb.UpdatePostRequest:
        return pb.UpdatePostRequest(post_id=post.id, post=post_pb2.Post(text=text))

    assert await refusal(desk.call("UpdatePost", update(second, "one"))) == VIOLATION
    assert await refusal(desk.call("UpdatePost", update(second, "x" * 281))) == VIOLATION
    assert (await desk.call("UpdatePost", update(first, "ONE"))).post.text == "ONE"
    assert (await desk.call("UpdatePost", update(first, "three"))).post.text == "three"
    assert (await desk.call("UpdatePost", update(second, "one"))).post.text == "one"
    await desk.call("CancelPost", pb.CancelPostRequest(post_id=first.id))
    await desk.call("UpdatePost", update(second, "three"))
    assert (await refusal(desk.call("RetryPost", pb.RetryPostRequest(post_id=first.id)))) == VIOLATION


async def test_changes_at_once_do_not_overwrite_each_other(desk: Desk) -> None:
    """What was checked is what is stored; who comes second is checked on what the first one left."""
    post = await desk.post(await desk.bot())
    fields = [{"text": "changed"}, {"made_with_ai": True}, {"paid_partnership": True}]
    requests = [pb.UpdatePostRequest(post_id=post.id, post=post_pb2.Post(**one)) for one in fields]  # type: ignore[arg-type]
    await asyncio.gather(*(desk.call("UpdatePost", request) for request in requests))
    stored = (await desk.call("GetPost", pb.GetPostRequest(post_id=post.id))).post
    assert (stored.text, stored.made_with_ai, stored.paid_partnership) == ("changed", True, True)
    old = pb.UpdatePostRequest(post_id=post.id, post=post_pb2.Post(text="old", etag=post.etag))
    assert await refusal(desk.call("UpdatePost", old)) == ("ETAG_MISMATCH", "etag")


async def test_a_preview_measures_and_prices_each_part(desk: Desk) -> None:
    """Without a bot: what needs none. With one: all, and when."""
    thread = post_pb2.Post(
        parts=[
            post_pb2.PostPart(text="Hi @stranger, see https://example.com #news $BTC"),
            post_pb2.PostPart(text="日" * 141),
        ]
    )
    seen = await preview(desk, thread)
    first, second = seen.parts
    assert (list(first.mentions), list(first.hashtags), list(first.cashtags)) == (
        ["stranger"],
        ["news"],
        ["BTC"],
    )
    assert (list(first.urls), first.max_weighted_length) == (["https://example.com"], 280)
    assert (second.weighted_length, second.cost_usd_micros, seen.cost_usd_micros) == (282, 15_000, 215_000)
    assert (seen.valid, seen.HasField("scheduled_time")) == (False, False)
    assert seen.findings[0].rule == policy_pb2.POLICY_RULE_TOO_LONG
    premium = await desk.bot(long_posts=True)
    thread.scheduled_time.CopyFrom(at(HOUR))
    seen = await preview(desk, thread, premium.id)
    assert (seen.valid, seen.parts[1].max_weighted_length, seen.scheduled_time) == (True, 25_000, at(HOUR))
    thread.scheduled_time.CopyFrom(at(-HOUR))
    assert not (await preview(desk, thread, premium.id)).valid
    assert (await refusal(preview(desk, thread, ANN)))[0] == "BOT_NOT_FOUND"


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300)
POSTS = st.builds(
    lambda texts, ai, reply: post_pb2.Post(
        parts=[post_pb2.PostPart(text=text) for text in texts],
        made_with_ai=ai,
        reply_to_x_post_id="12" if reply else "",
    ),
    st.lists(
        st.one_of(TEXTS, st.sampled_from(["same", "$A $B", "https://example.com"])), min_size=1, max_size=3
    ),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(post=POSTS)
async def test_the_preview_is_what_is_sent(desk: Desk, post: post_pb2.Post) -> None:
    """Same texts, same findings, same cost, and valid exactly if the post is taken."""
    if any(not part.text.strip() for part in post.parts):
        return
    bot = await desk.bot(f"bot_{new_id()[-12:]}")
    post.scheduled_time.CopyFrom(at(HOUR))
    seen = await preview(desk, post, bot.id)
    request = pb.CreatePostRequest(bot_id=bot.id, post=post)
    if not seen.valid:
        assert (await refusal(desk.call("CreatePost", request)))[0] == "POLICY_VIOLATION"
        return
    made = (await desk.call("CreatePost", request)).post
    assert [part.text for part in seen.parts] == [part.rendered_text or part.text for part in made.parts]
    assert (list(seen.findings), seen.cost_usd_micros) == (list(made.findings), made.cost_usd_micros)


@pytest.mark.parametrize("state", [MediaState.FAILED, MediaState.PROCESSING])
async def test_media_that_are_not_ready_are_found_before_the_post_has_its_time(
    desk: Desk, state: MediaState
) -> None:
    """X would refuse them, or show nothing; a draft may wait for them, since whoever wrote it looks again."""
    bot, bad, good = await desk.bot(), await medium(desk, state), await medium(desk, MediaState.READY)
    assert await refusal(desk.post(bot, post=showing(bad))) == ("POLICY_VIOLATION", "post.media_ids")
    draft = await desk.post(bot, post=post_pb2.Post(text="look", media_ids=[bad]))
    assert [finding.rule for finding in draft.findings] == [policy_pb2.POLICY_RULE_MEDIA_MIX]
    seen = (await preview(desk, showing(bad), bot.id)).findings
    assert [finding.rule for finding in seen] == [policy_pb2.POLICY_RULE_MEDIA_MIX]
    post = await desk.post(bot, post=showing(good))
    assert (post.state, list(post.findings)) == (post_pb2.POST_STATE_SCHEDULED, [])


def showing(medium_id: str) -> post_pb2.Post:
    return post_pb2.Post(text="look", media_ids=[medium_id], scheduled_time=at(HOUR))


async def medium(desk: Desk, state: MediaState) -> str:
    """The id of an image in the library."""
    made = Medium(
        new_id(), "image/png", MediaKind.IMAGE, state, 1, "", NOW, NOW + 24 * HOUR, alt_text="a face"
    )
    await desk.library.begin(made.id, "", NOW, NOW + HOUR)
    await desk.library.complete(made, None)
    return made.id
