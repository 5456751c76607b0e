"""Look-ups, timelines and users: what X shows to whom."""

import pytest

from tests.unit.sandbox.clients import X

ALL_METRICS = "public_metrics,non_public_metrics,organic_metrics"


async def test_metrics_start_at_zero_and_are_what_was_set(x: X) -> None:
    """The manager's statistics are checked against these numbers."""
    alice = await x.account()
    post_id = await alice.post_id("hello")
    query = {"ids": post_id, "tweet.fields": "public_metrics"}
    before = (await alice.send("GET", "/2/tweets", query=query)).json["data"][0]["public_metrics"]
    assert set(before.values()) == {0}
    await x.send("PUT", f"/sandbox/posts/{post_id}/metrics", body={"like_count": 3, "retweet_count": 2})
    await x.send(
        "PUT", f"/sandbox/posts/{post_id}/metrics", body={"public_metrics": {"impression_count": 50}}
    )
    after = (await alice.send("GET", "/2/tweets", query=query)).json["data"][0]["public_metrics"]
    assert after == before | {"like_count": 3, "retweet_count": 2, "impression_count": 50}


async def test_private_metrics_are_the_authors_for_thirty_days(x: X) -> None:
    """X hides them from others, and from everybody after 30 days, without failing the call."""
    alice, bob = await x.account("alice"), await x.account("bob")
    post_id = await alice.post_id("hello")
    await x.send("PUT", f"/sandbox/posts/{post_id}/metrics", body={"url_link_clicks": 7})
    query = {"ids": post_id, "tweet.fields": ALL_METRICS}
    own = (await alice.send("GET", "/2/tweets", query=query)).json
    assert own["data"][0]["non_public_metrics"]["url_link_clicks"] == 7
    assert "errors" not in own
    foreign = (await bob.send("GET", "/2/tweets", query=query)).json
    assert "public_metrics" in foreign["data"][0]
    assert "non_public_metrics" not in foreign["data"][0]
    assert [error["field"] for error in foreign["errors"]] == ["non_public_metrics", "organic_metrics"]
    x.clock.advance(30 * 86400 + 1)
    late = (await alice.send("GET", "/2/tweets", query=query)).json
    assert "non_public_metrics" not in late["data"][0]
    assert len(late["errors"]) == 2


async def test_a_lookup_answers_in_part(x: X) -> None:
    """Missing posts are errors beside the data, with status 200."""
    alice = await x.account()
    post_id = await alice.post_id("hello")
    answer = await alice.send("GET", "/2/tweets", query={"ids": f"404,{post_id}"})
    assert answer.status == 200
    assert [post["id"] for post in answer.json["data"]] == [post_id]
    assert answer.json["errors"][0]["resource_id"] == "404"
    assert "data" not in (await alice.send("GET", "/2/tweets", query={"ids": "404"})).json


async def test_the_answer_speaks_the_words_of_the_question(x: X) -> None:
    """X renames tweets to posts; a client may use either side."""
    alice = await x.account()
    post_id = await alice.post_id("hello")
    old = await alice.send("GET", "/2/tweets", query={"ids": post_id, "tweet.fields": "public_metrics"})
    new = await alice.send("GET", "/2/tweets", query={"ids": post_id, "post.fields": "public_metrics"})
    assert "retweet_count" in old.json["data"][0]["public_metrics"]
    assert old.json["data"][0]["edit_history_tweet_ids"] == [post_id]
    assert "repost_count" in new.json["data"][0]["public_metrics"]
    assert new.json["data"][0]["edit_history_post_ids"] == [post_id]


async def test_only_the_fields_asked_for_are_shown(x: X) -> None:
    """A client that forgets a field must notice here."""
    alice = await x.account()
    post_id = await alice.post_id("see https://example.com")
    bare = (await alice.send("GET", "/2/tweets", query={"ids": post_id})).json["data"][0]
    assert set(bare) == {"id", "text", "edit_history_tweet_ids"}
    query = {"ids": post_id, "tweet.fields": "author_id,created_at,entities"}
    full = (await alice.send("GET", "/2/tweets", query=query)).json["data"][0]
    assert full["author_id"] == alice.user_id
    assert full["created_at"] == "2026-11-18T11:06:40.250Z"
    assert full["entities"]["urls"][0]["expanded_url"] == "https://example.com"


async def test_a_timeline_is_paged_from_new_to_old(x: X) -> None:
    """Reconciling walks it; nothing may be left out or shown twice."""
    alice = await x.account()
    ids = [await alice.post_id(f"post {number}") for number in range(12)]
    seen: list[str] = []
    query: dict[str, object] = {"max_results": 5}
    while True:
        answer = (await alice.timeline(**query)).json
        seen += [post["id"] for post in answer["data"]]
        assert answer["meta"]["result_count"] == len(answer["data"])
        if "next_token" not in answer["meta"]:
            break
        query["pagination_token"] = answer["meta"]["next_token"]
    assert seen == ids[::-1]


async def test_a_timeline_is_cut_by_time_and_id(x: X) -> None:
    """since_id and the end are exclusive, the start is inclusive, as X documents."""
    alice = await x.account()
    ids = []
    for number in range(3):
        ids.append(await alice.post_id(f"post {number}"))
        x.clock.advance(60)

    async def seen(**query: object) -> list[str]:
        answer = (await alice.timeline(**query)).json
        return [post["id"] for post in answer.get("data", [])]

    assert await seen(start_time="2026-11-18T11:07:40.250Z") == ids[:0:-1]
    assert await seen(end_time="2026-11-18T11:07:40.250Z") == ids[:1]
    assert await seen(since_id=ids[0]) == ids[:0:-1]
    assert await seen(until_id=ids[1]) == ids[:1]
    assert (await alice.timeline(since_id=ids[2])).json == {"meta": {"result_count": 0}}


async def test_replies_can_be_left_out(x: X) -> None:
    """X's `exclude`."""
    alice = await x.account()
    root = await alice.post_id("root")
    await alice.post_id("reply", reply={"in_reply_to_tweet_id": root})
    answer = (await alice.timeline(exclude="replies")).json
    assert [post["id"] for post in answer["data"]] == [root]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"max_results": 4}, "max_results"),
        ({"max_results": 101}, "max_results"),
        ({"max_results": "ten"}, "max_results"),
        ({"since_id": "abc"}, "since_id"),
        ({"since_id": "5", "until_id": "4"}, "since_id"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": "2026-01-01T00:00:00"}, "start_time"),
        ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "start_time"),
        ({"pagination_token": "!"}, "pagination_token"),
        ({"tweet.fields": "colour"}, "tweet.fields"),
        ({"exclude": "everything"}, "exclude"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_query_names_its_parameter(x: X, query: dict[str, object], parameter: str) -> None:
    """X refuses what it does not know."""
    alice = await x.account()
    answer = await alice.timeline(**query)
    assert answer.status == 400
    assert answer.json["parameter"] == parameter


@pytest.mark.parametrize("ids", [None, "", "abc", ",".join(str(n) for n in range(1, 102))])
async def test_a_lookup_takes_one_to_a_hundred_ids(x: X, ids: str | None) -> None:
    """The manager batches by a hundred."""
    alice = await x.account()
    answer = await alice.send("GET", "/2/tweets", query={} if ids is None else {"ids": ids})
    assert (answer.status, answer.json["parameter"]) == (400, "ids")


async def test_expansions_are_not_pretended(x: X) -> None:
    """An ignored parameter would look like an empty answer."""
    alice = await x.account()
    assert (await alice.timeline(expansions="author_id")).status == 501


async def test_me_is_the_signer(x: X) -> None:
    """Verifying credentials rests on it."""
    alice = await x.account("Alice_1")
    await alice.post_id("hello")
    plain = (await alice.send("GET", "/2/users/me")).json
    assert plain == {"data": {"id": alice.user_id, "name": "Alice_1", "username": "Alice_1"}}
    full = (await alice.send("GET", "/2/users/me", query={"user.fields": "public_metrics,created_at"})).json[
        "data"
    ]
    assert full["public_metrics"]["tweet_count"] == 1
    assert full["created_at"].endswith("Z")


async def test_the_timeline_of_nobody_is_an_error_beside_no_data(x: X) -> None:
    """X answers 200 with errors."""
    alice = await x.account()
    answer = await alice.send("GET", "/2/users/404/tweets")
    assert answer.status == 200
    assert answer.json["errors"][0]["resource_type"] == "user"
