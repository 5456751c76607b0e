"""Reading through the adapter: who am I, counters, the account's own posts."""

from datetime import UTC, datetime, timedelta

import pytest

from mesh.clock import SystemClock
from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted, Unavailable
from mesh.secret import Secret
from services.bot_manager.domain.outcomes import Outcome, OutcomeKind
from services.bot_manager.x import reading
from services.bot_manager.x.errors import error_of
from services.bot_manager.x.port import METRICS_BATCH, OAuth1Credentials, XAccount, XPostDraft
from services.bot_manager.x.tweepy_port import TweepyPort
from tests.unit.services.bot_manager.x.conftest import Sandbox

WRONG = OAuth1Credentials(*(Secret(name) for name in ("a", "b", "c", "d")))
MINUTE = timedelta(minutes=1)


async def test_who_the_credentials_belong_to(x: TweepyPort, sandbox: Sandbox) -> None:
    """Posting to somebody else's account is worse than not posting."""
    user_id, keys = await sandbox.account("alice")
    assert await x.get_me(keys) == XAccount(user_id, "alice")


async def test_refused_credentials_raise_their_reason(x: TweepyPort, sandbox: Sandbox) -> None:
    """Whoever connects an account must see why it does not work."""
    with pytest.raises(FailedPrecondition) as error:
        await x.get_me(WRONG)
    assert error.value.reason == "X_CREDENTIALS_REJECTED"
    assert error.value.metadata["httpStatus"] == "401"


async def test_x_being_away_is_unavailable() -> None:
    """Not an internal error of ours."""
    port = TweepyPort("http://127.0.0.1:9", request_timeout=lambda: MINUTE, clock=SystemClock())
    try:
        with pytest.raises(Unavailable) as error:
            await port.get_me(WRONG)
    finally:
        await port.close()
    assert error.value.reason == "X_UNAVAILABLE"


async def test_counters_come_back_with_clicks_and_gone_posts(x: TweepyPort, sandbox: Sandbox) -> None:
    """One look-up serves a hundred posts; a deleted one among them is told apart from one that was not answered."""
    _, keys = await sandbox.account()
    post_id = (await x.create_post(keys, XPostDraft("one"))).x_post_id
    metrics = {"impression_count": 1000, "like_count": 12, "repost_count": 3, "url_link_clicks": 4}
    await sandbox.call("PUT", f"/sandbox/posts/{post_id}/metrics", metrics)
    read = await x.get_metrics(keys, [post_id, "999"])
    found = read.metrics[post_id]
    assert (found.impressions, found.likes, found.reposts, found.url_clicks) == (1000, 12, 3, 4)
    assert found.private
    assert read.gone == {"999"}


async def test_others_posts_are_read_without_clicks(x: TweepyPort, sandbox: Sandbox) -> None:
    """X tells clicks to the author only; no answer about them is not zero clicks."""
    _, alice = await sandbox.account("alice")
    _, bob = await sandbox.account("bob")
    post_id = (await x.create_post(alice, XPostDraft("one"))).x_post_id
    assert not (await x.get_metrics(bob, [post_id])).metrics[post_id].private


async def test_a_look_up_has_a_bound(x: TweepyPort) -> None:
    """X refuses the 101st id; so does the port, before it costs anything."""
    assert (await x.get_metrics(WRONG, [])).metrics == {}
    with pytest.raises(ValueError, match="100"):
        await x.get_metrics(WRONG, [str(number) for number in range(METRICS_BATCH + 1)])


async def test_the_own_timeline_shows_what_was_written(x: TweepyPort, sandbox: Sandbox) -> None:
    """Finding a post again is what settles an unknown outcome, so X's escaping and short links are undone."""
    user_id, keys = await sandbox.account()
    text = "a & b < c https://example.com/x?a=1&b=2 &amp; done"
    first = (await x.create_post(keys, XPostDraft("first"))).x_post_id
    second = (await x.create_post(keys, XPostDraft(text, reply_to=first))).x_post_id
    timeline = await x.own_posts(keys, user_id, datetime.now(UTC) - MINUTE)
    assert [post.x_post_id for post in timeline.posts] == [second, first]
    assert (timeline.posts[0].text, timeline.posts[0].reply_to) == (text, first)
    assert timeline.complete


async def test_a_long_timeline_is_read_page_by_page(x: TweepyPort, sandbox: Sandbox) -> None:
    """And says so where it stopped, since absence then proves nothing."""
    user_id, keys = await sandbox.account()
    for number in range(12):
        await x.create_post(keys, XPostDraft(f"post {number}"))
    since = datetime.now(UTC) - MINUTE
    assert not (await x.own_posts(keys, user_id, since, limit=5)).complete
    whole = await x.own_posts(keys, user_id, since, limit=50)
    assert whole.complete
    assert len(whole.posts) == 12


def test_documents_without_their_shape_are_no_answer() -> None:
    """Something between us and X may answer 200 with anything."""
    for wrong in ({}, {"data": []}, {"data": {"id": "1"}}):
        with pytest.raises(Unavailable):
            reading.account(wrong)
    with pytest.raises(Unavailable):
        reading.timeline({"data": [{"id": "1"}]})
    assert not reading.timeline({"errors": [{"type": "about:blank"}]}).complete
    assert (
        reading.metrics({"data": [{"id": "1", "public_metrics": {"like_count": "many"}}]}).metrics["1"].likes
        == 0
    )


REASONS = {
    OutcomeKind.CREDENTIALS_REJECTED: (FailedPrecondition, "X_CREDENTIALS_REJECTED"),
    OutcomeKind.ACCOUNT_SUSPENDED: (FailedPrecondition, "X_ACCOUNT_SUSPENDED"),
    OutcomeKind.NOT_PERMITTED: (FailedPrecondition, "X_REJECTED"),
    OutcomeKind.REJECTED: (FailedPrecondition, "X_REJECTED"),
    OutcomeKind.DUPLICATE: (FailedPrecondition, "X_REJECTED"),
    OutcomeKind.RATE_LIMITED: (ResourceExhausted, "X_RATE_LIMITED"),
    OutcomeKind.USAGE_CAPPED: (ResourceExhausted, "X_RATE_LIMITED"),
    OutcomeKind.CREDITS_DEPLETED: (ResourceExhausted, "X_CREDITS_DEPLETED"),
    OutcomeKind.NOT_SENT: (Unavailable, "X_UNAVAILABLE"),
    OutcomeKind.UNKNOWN: (Unavailable, "X_UNAVAILABLE"),
}


@pytest.mark.parametrize("kind", [kind for kind in OutcomeKind if kind is not OutcomeKind.PUBLISHED])
def test_every_refusal_of_a_read_is_an_error_of_the_mesh(kind: OutcomeKind) -> None:
    """The console switches on the reason."""
    error: MeshError = error_of(Outcome(kind, pause=MINUTE))
    assert (type(error), error.reason) == REASONS[kind]
    if error.reason == "X_RATE_LIMITED":
        assert error.retry_after == MINUTE
