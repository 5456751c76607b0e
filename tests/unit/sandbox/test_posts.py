"""`POST /2/tweets` and `DELETE /2/tweets/{id}`: what X takes and what it refuses."""

import pytest

from sandbox.app import MAX_BODY_BYTES
from sandbox.store import X_EPOCH_MILLISECONDS
from tests.unit.sandbox.clients import X


async def test_a_post_is_created_and_displayed(x: X) -> None:
    """The main path: text in, id out, visible."""
    alice = await x.account()
    answer = await alice.post("Fish & chips <3")
    data = answer.json["data"]
    assert answer.status == 201
    assert data == {
        "id": data["id"],
        "text": "Fish &amp; chips &lt;3",
        "edit_history_tweet_ids": [data["id"]],
    }
    assert await x.posts() == [
        {
            "id": data["id"],
            "user_id": alice.user_id,
            "text": "Fish & chips <3",
            "created_at": "2026-11-18T11:06:40.250Z",
            "in_reply_to": None,
            "media_ids": [],
            "poll": None,
        }
    ]


async def test_ids_grow_even_when_the_clock_steps_back(x: X) -> None:
    """Paging and since_id rest on it."""
    alice = await x.account()
    ids = []
    for number in range(4):
        ids.append(int(await alice.post_id(f"post {number}")))
        x.clock.advance(-1)
    assert ids == sorted(set(ids))
    assert (ids[0] >> 22) + X_EPOCH_MILLISECONDS == int((x.clock() + 4) * 1000)


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "text"),
        ({"text": "  "}, "text"),
        ({"text": 5}, "text"),
        ({"text": "a" * 281}, "text"),
        ({"text": "日" * 141}, "text"),
        ({"text": "x", "colour": "red"}, "colour"),
        ({"text": "x", "media": {}}, "media.media_ids"),
        ({"media": {"media_ids": []}}, "media.media_ids"),
        ({"media": {"media_ids": ["1", "2", "3", "4", "5"]}}, "media.media_ids"),
        ({"media": {"media_ids": ["one"]}}, "media.media_ids[0]"),
        ({"text": "x", "poll": {"options": ["a"], "duration_minutes": 5}}, "poll.options"),
        ({"text": "x", "poll": {"options": ["a", "b" * 26], "duration_minutes": 5}}, "poll.options[1]"),
        ({"text": "x", "poll": {"options": ["a", "b"], "duration_minutes": 4}}, "poll.duration_minutes"),
        ({"text": "x", "poll": {"options": ["a", "b"]}}, "poll.duration_minutes"),
        ({"text": "x", "poll": {"options": ["a", "b"], "duration_minutes": True}}, "poll.duration_minutes"),
        ({"poll": {"options": ["a", "b"], "duration_minutes": 5}}, "text"),
        ({"text": "x", "reply": {}}, "reply.in_reply_to_tweet_id"),
        ({"text": "x", "reply": {"in_reply_to_tweet_id": 5}}, "reply.in_reply_to_tweet_id"),
        ({"text": "x", "reply_settings": "nobody"}, "reply_settings"),
        (
            {
                "text": "x",
                "media": {"media_ids": ["1"]},
                "poll": {"options": ["a", "b"], "duration_minutes": 5},
            },
            "poll",
        ),
        ({"text": "x", "media": {"media_ids": ["1"]}, "quote_tweet_id": "1"}, "quote_tweet_id"),
        ([1], "$"),
    ],
)
async def test_a_wrong_body_is_an_invalid_request_that_names_the_parameter(
    x: X, body: object, parameter: str
) -> None:
    """X is strict; a client that sends too much or too little is told where."""
    alice = await x.account()
    answer = await alice.send("POST", "/2/tweets", body=body)
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json["type"].endswith("/invalid-request")
    assert answer.json["parameter"] == parameter
    assert list(answer.json["errors"][0]["parameters"]) == [parameter]
    assert await x.posts() == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b'"' + b"\\ud800" + b'"', b'{"text": "\\ud800"}', b"[" * 100_000]
)
async def test_a_body_that_is_no_good_json_is_refused(x: X, raw: bytes) -> None:
    """Garbage is answered, not crashed on."""
    alice = await x.account()
    headers = {
        "Authorization": alice.authorization("POST", f"{x.url}/2/tweets"),
        "Content-Type": "application/json",
    }
    assert (await x.send("POST", "/2/tweets", data=raw, headers=headers)).status == 400


async def test_a_body_over_the_limit_is_refused(x: X) -> None:
    """Memory is bounded."""
    alice = await x.account()
    assert (await alice.post("a" * MAX_BODY_BYTES)).status == 413


async def test_the_same_text_twice_is_a_duplicate_for_a_while(x: X) -> None:
    """The manager reads this answer as: perhaps already posted."""
    alice, bob = await x.account("alice"), await x.account("bob")
    first = await alice.post_id("hello  world")
    again = await alice.post("hello world ")
    assert again.status == 403
    assert again.json["detail"] == "You are not allowed to create a Tweet with duplicate content."
    assert (await bob.post("hello world")).status == 201
    assert (await alice.send("DELETE", f"/2/tweets/{first}")).json == {"data": {"deleted": True}}
    assert (await alice.post("hello world")).status == 201
    x.clock.advance(901)
    assert (await alice.post("hello world")).status == 201


async def test_replies_polls_media_and_quotes_are_kept(x: X) -> None:
    """What was sent is what X displays."""
    alice = await x.account()
    images = [await alice.image_id(), await alice.image_id()]
    root = await alice.post_id("root", media={"media_ids": images})
    reply = await alice.post_id("reply", reply={"in_reply_to_tweet_id": root})
    await alice.post_id("poll", poll={"options": ["a", "b"], "duration_minutes": 60})
    await alice.post_id("quote", quote_tweet_id=root)
    shown = await x.posts()
    assert shown[0]["media_ids"] == images
    assert shown[1]["in_reply_to"] == root
    assert shown[2]["poll"] == {"options": ["a", "b"], "duration_minutes": 60}
    fields = "conversation_id,referenced_tweets,in_reply_to_user_id,attachments"
    answer = await alice.send("GET", "/2/tweets", query={"ids": f"{reply},{root}", "tweet.fields": fields})
    seen_reply, seen_root = answer.json["data"]
    assert seen_reply["conversation_id"] == seen_root["conversation_id"] == root
    assert seen_reply["referenced_tweets"] == [{"type": "replied_to", "id": root}]
    assert seen_reply["in_reply_to_user_id"] == alice.user_id
    assert seen_root["attachments"] == {"media_keys": [f"3_{one}" for one in images]}


@pytest.mark.parametrize("body", [{"reply": {"in_reply_to_tweet_id": "404"}}, {"quote_tweet_id": "404"}])
async def test_an_answer_to_a_missing_post_is_refused(x: X, body: dict[str, object]) -> None:
    """Threads must notice that their parent is gone."""
    alice = await x.account()
    answer = await alice.post("hello", **body)
    assert answer.status == 404
    assert answer.json["type"].endswith("/resource-not-found")
    assert answer.json["resource_id"] == "404"


async def test_only_the_author_deletes(x: X) -> None:
    """A wrong key must not reach another account's posts."""
    alice, bob = await x.account("alice"), await x.account("bob")
    post_id = await alice.post_id("mine")
    assert (await bob.send("DELETE", f"/2/tweets/{post_id}")).status == 403
    assert (await alice.send("DELETE", f"/2/tweets/{post_id}")).status == 200
    assert (await alice.send("DELETE", f"/2/tweets/{post_id}")).status == 404
    assert await x.posts() == []


async def test_what_the_sandbox_does_not_offer_says_so(x: X) -> None:
    """Silence would look like success."""
    alice = await x.account()
    dm = {"media_type": "image/png", "media_category": "dm_image", "total_bytes": 1}
    assert (await alice.send("POST", "/2/media/upload/initialize", body=dm)).status == 501
    assert (await alice.post("edit", edit_options={"previous_post_id": "1"})).status == 501
    assert (await x.send("GET", "/2/nothing")).json["status"] == 404
    wrong_method = await x.send("PUT", "/2/tweets")
    assert (wrong_method.status, wrong_method.headers["allow"]) == (405, "GET,HEAD,POST")
