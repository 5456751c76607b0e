"""The control paths: promises that the demo and other tests rely on."""

import pytest

from tests.unit.sandbox.clients import X


async def test_an_account_is_made_once(x: X) -> None:
    """Asking again for a handle gives the same account, so a demo can run twice."""
    first = await x.send("POST", "/sandbox/accounts", body={"handle": "Alice"})
    again = await x.send("POST", "/sandbox/accounts", body={"handle": "@alice"})
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    assert list(first.json) == [
        "user_id",
        "consumer_key",
        "consumer_secret",
        "access_token",
        "access_token_secret",
    ]
    assert first.json["access_token"].startswith(first.json["user_id"] + "-")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "handle"),
        ({"handle": ""}, "handle"),
        ({"handle": "a b"}, "handle"),
        ({"handle": 5}, "handle"),
        ({"handle": "a", "age": 3}, "age"),
        ([], "$"),
    ],
)
async def test_a_wrong_account_names_its_field(x: X, body: object, field: str) -> None:
    """Typing errors are told, not guessed."""
    answer = await x.send("POST", "/sandbox/accounts", body=body)
    assert answer.status == 400
    assert answer.json["error"]["field"] == field


async def test_posts_are_listed_in_order_and_by_user(x: X) -> None:
    """The proof of every publish test."""
    alice, bob = await x.account("alice"), await x.account("bob")
    ids = [await alice.post_id("one"), await bob.post_id("two"), await alice.post_id("three")]
    assert [post["id"] for post in await x.posts()] == ids
    only = await x.send("GET", f"/sandbox/posts?user_id={bob.user_id}")
    assert [post["text"] for post in only.json["posts"]] == ["two"]
    assert (await x.send("GET", "/sandbox/posts?user_id=404")).json == {"posts": []}
    assert (await x.send("GET", "/sandbox/posts?colour=red")).json["error"]["field"] == "colour"


async def test_metrics_are_set_by_any_of_their_names(x: X) -> None:
    """X's old and new names and the statistics' short ones mean the same counters."""
    alice = await x.account()
    path = f"/sandbox/posts/{await alice.post_id('hello')}/metrics"
    answer = await x.send(
        "PUT", path, body={"likes": 1, "reposts": 2, "organic_metrics": {"url_link_clicks": 3}}
    )
    assert answer.status == 200
    assert (answer.json["like_count"], answer.json["repost_count"]) == (1, 2)
    assert answer.json["url_link_clicks"] == 3
    for body, field in [
        ({"joy": 1}, "joy"),
        ({"likes": -1}, "likes"),
        ({"public_metrics": {"x": 1}}, "public_metrics.x"),
    ]:
        wrong = await x.send("PUT", path, body=body)
        assert (wrong.status, wrong.json["error"]["field"]) == (400, field)
    missing = await x.send("PUT", "/sandbox/posts/404/metrics", body={"likes": 1})
    assert missing.status == 404


async def test_it_tells_that_it_lives(x: X) -> None:
    """A supervisor waits for this."""
    assert (await x.send("GET", "/healthz")).json == {"status": "ok"}
