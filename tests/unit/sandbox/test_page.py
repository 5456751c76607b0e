"""The page for people."""

from tests.unit.sandbox.clients import X


async def test_the_page_shows_posts_and_escapes_them(x: X) -> None:
    """Whatever a bot posts, the page stays a page."""
    alice = await x.account()
    root = await alice.post_id("<script>alert('x')</script> & more")
    await alice.post_id("reply", reply={"in_reply_to_tweet_id": root})
    await alice.post_id("vote", poll={"options": ["<b>", "no"], "duration_minutes": 5})
    page = await x.send("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in page.body
    assert "<b>" not in page.body
    assert "&lt;script&gt;" in page.body
    assert "In reply to @alice" in page.body
    assert page.body.index("vote") < page.body.index("In reply to")


async def test_the_page_may_load_and_run_nothing(x: X) -> None:
    """The policy allows one style sheet, by its hash."""
    policy = (await x.send("GET", "/")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


async def test_refreshing_can_be_stopped(x: X) -> None:
    """A page that reloads under a reader's eyes must be stoppable (WCAG 2.2.2)."""
    assert 'http-equiv="refresh"' in (await x.send("GET", "/")).body
    assert 'http-equiv="refresh"' not in (await x.send("GET", "/?refresh=off")).body
