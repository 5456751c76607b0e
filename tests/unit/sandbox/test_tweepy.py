"""tweepy's own clients against the sandbox: what the product uses must work here as at X."""

import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import requests
import tweepy

from sandbox.app import running
from sandbox.settings import Settings
from tests.unit.sandbox.clients import FakeClock, RedirectedSession, TweepyAsync, X, in_thread


@pytest.fixture
async def x(session: aiohttp.ClientSession) -> AsyncIterator[X]:
    """tweepy signs with the real time, so this sandbox runs on it."""
    async with running(Settings(port=0)) as url:
        yield X(url, FakeClock(time.time()), session)


async def test_the_asynchronous_client_posts_and_reads_metrics(x: X) -> None:
    """The product's path to X."""
    alice = await x.account()
    client = TweepyAsync(x.url, x.session, **alice.keys)
    created = await client.create_tweet(text="100% łódź + a/b: https://example.com?q=1 ✓")
    post_id = created.data["id"]
    await x.send("PUT", f"/sandbox/posts/{post_id}/metrics", body={"like_count": 5})
    fields = ["public_metrics", "non_public_metrics", "created_at", "author_id"]
    found = await client.get_tweets([post_id, "404"], tweet_fields=fields, user_auth=True)
    assert found.data[0].public_metrics["like_count"] == 5
    assert found.data[0].author_id == int(alice.user_id)
    assert found.errors[0]["resource_id"] == "404"
    timeline = await client.get_users_tweets(
        alice.user_id, start_time="2020-01-01T00:00:00Z", max_results=5, user_auth=True
    )
    assert [post.id for post in timeline.data] == [int(post_id)]
    assert (await client.get_me()).data.username == "alice"
    assert (await client.delete_tweet(post_id)).data == {"deleted": True}


async def test_the_asynchronous_client_sees_errors_as_tweepy_errors(x: X) -> None:
    """Problem documents must be readable by tweepy's error classes."""
    alice = await x.account()
    client = TweepyAsync(x.url, x.session, timeout_seconds=0.3, **alice.keys)
    await client.create_tweet(text="hello")
    with pytest.raises(tweepy.Forbidden, match="duplicate content"):
        await client.create_tweet(text="hello")
    with pytest.raises(tweepy.BadRequest, match="too long"):
        await client.create_tweet(text="a" * 281)
    await x.fault("html_502")
    with pytest.raises(tweepy.TwitterServerError, match="502"):
        await client.create_tweet(text="proxy")
    await x.fault("rate_limited")
    with pytest.raises(tweepy.TooManyRequests):
        await client.create_tweet(text="limited")
    await x.fault("timeout_after")
    with pytest.raises(TimeoutError):
        await client.create_tweet(text="silence")
    assert [post["text"] for post in await x.posts()] == ["hello", "silence"]
    stranger = TweepyAsync(x.url, x.session, **{**alice.keys, "access_token_secret": "wrong"})
    with pytest.raises(tweepy.Unauthorized):
        await stranger.get_me()


async def test_the_synchronous_client_posts_and_reads(x: X) -> None:
    """requests-oauthlib signs in its own way; both must verify."""
    alice = await x.account()
    client = tweepy.Client(**alice.keys)
    client.session.close()
    client.session = RedirectedSession(x.url)
    try:
        created = await in_thread(client.create_tweet, text="hello from requests")
        found = await in_thread(
            client.get_tweets, [created.data["id"]], tweet_fields=["public_metrics"], user_auth=True
        )
        assert found.data[0].public_metrics["retweet_count"] == 0
        await x.fault("reset_before")
        with pytest.raises(requests.ConnectionError):
            await in_thread(client.create_tweet, text="lost")
        assert len(await x.posts()) == 1
    finally:
        client.session.close()
