"""Media as X keeps them: uploads in segments, processing, expiry, and which of them a post may show."""

import base64
import hashlib
from pathlib import Path

import aiohttp
import pytest

from sandbox.app import running
from sandbox.media import MAX_SEGMENT_BYTES
from sandbox.settings import Settings
from tests.unit.sandbox.clients import MP4, PNG, Account, Answer, FakeClock, X

UPLOAD = "/2/media/upload"
DAY = 24 * 60 * 60


async def shows(account: Account, *media_ids: str) -> Answer:
    """A post that shows these."""
    return await account.post("look", media={"media_ids": list(media_ids)})


async def test_an_image_is_ready_at_once_and_a_video_after_processing(x: X) -> None:
    """A client that posts too early must be told so, as X tells it."""
    alice = await x.account()
    assert (await shows(alice, await alice.image_id())).status == 201
    begun, appended, finished = await alice.video(MP4)
    media_id = begun.json["data"]["id"]
    assert appended.json["data"]["expires_at"] > x.clock()
    info = finished.json["data"]["processing_info"]
    assert (info["state"], info["check_after_secs"]) == ("pending", 1)
    assert (await shows(alice, media_id)).status == 400
    assert (await alice.media_status(media_id)).json["data"]["processing_info"]["state"] == "in_progress"
    x.clock.advance(1)
    assert (await alice.media_status(media_id)).json["data"]["processing_info"]["state"] == "succeeded"
    assert (await shows(alice, media_id)).status == 201


async def test_processing_fails_on_demand_and_for_what_is_no_video(x: X) -> None:
    """Failures must be there to be handled."""
    alice = await x.account()
    wrong = (await alice.video(bytes(100)))[0].json["data"]["id"]
    await x.send("PUT", "/sandbox/media/moods", body={"failure": "Unsupported codec", "seconds": 0})
    spoiled = (await alice.video(MP4))[0].json["data"]["id"]
    x.clock.advance(1)
    for media_id, words in [(wrong, "file is currently unsupported"), (spoiled, "Unsupported codec")]:
        answer = (await alice.media_status(media_id)).json
        assert answer["data"]["processing_info"] == {"state": "failed"}
        assert answer["errors"][0]["detail"] == words
        assert (await shows(alice, media_id)).status == 400


async def test_segments_come_in_order_whole_and_once(x: X) -> None:
    """Half a file must never be taken for a whole one."""
    alice = await x.account()
    data = b"\0\0\0\x18ftypisom" + bytes(MAX_SEGMENT_BYTES)
    path = f"{UPLOAD}/{(await alice.announce(data)).json['data']['id']}"

    async def append(index: int, piece: bytes) -> int:
        return (await alice.upload(f"{path}/append", segment_index=str(index), media=piece)).status

    assert await append(1, b"x") == 400
    assert await append(0, data) == 400
    assert await append(0, data[:MAX_SEGMENT_BYTES]) == 200
    assert await append(0, data[:MAX_SEGMENT_BYTES]) == 200
    assert await append(0, b"other bytes") == 400
    assert (await alice.send("POST", f"{path}/finalize")).status == 400
    assert await append(1, bytes(13)) == 400
    assert await append(1, data[MAX_SEGMENT_BYTES:]) == 200
    assert (await alice.send("POST", f"{path}/finalize")).status == 200
    assert (await alice.send("POST", f"{path}/finalize")).status == 404
    kept = (await x.send("GET", "/sandbox/media")).json["media"][0]
    assert (kept["size"], kept["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


async def test_bytes_may_come_as_json(x: X) -> None:
    """X takes Base64 in JSON as well as multipart."""
    alice = await x.account()
    body = {"media": base64.b64encode(PNG).decode(), "media_category": "tweet_image"}
    assert (await alice.send("POST", UPLOAD, body=body)).status == 200
    path = f"{UPLOAD}/{(await alice.announce(MP4)).json['data']['id']}"
    body = {"media": base64.b64encode(MP4).decode(), "segment_index": 0}
    assert (await alice.send("POST", f"{path}/append", body=body)).status == 200
    assert (
        await alice.send("POST", f"{path}/append", body={"media": "%%", "segment_index": 0})
    ).status == 400


@pytest.mark.parametrize(
    ("media_type", "category", "status"),
    [
        ("image/png", "tweet_image", 200),
        ("image/gif", "tweet_gif", 200),
        ("image/png", "tweet_video", 400),
        ("video/mp4", "tweet_image", 400),
        ("video/mp4", "tweet_gif", 400),
        ("audio/mpeg", "tweet_video", 400),
    ],
)
async def test_a_category_takes_its_own_types(x: X, media_type: str, category: str, status: int) -> None:
    """The wrong category is the commonest mistake of clients."""
    alice = await x.account()
    assert (await alice.announce(PNG, media_type, category)).status == status


async def test_an_image_that_is_none_is_refused(x: X) -> None:
    """X looks at the bytes, not at their name."""
    alice = await x.account()
    answer = await alice.upload(UPLOAD, media=b"<html>", media_category="tweet_image")
    assert (answer.status, answer.json["parameter"]) == (400, "media")
    large = PNG + bytes(5 * 1024 * 1024)
    assert (await alice.upload(UPLOAD, media=large, media_category="tweet_image")).status == 400
    assert (await alice.upload(UPLOAD, media=large * 2, media_category="tweet_image")).status == 413


async def test_media_belong_to_who_sent_them_and_for_a_day(x: X) -> None:
    """Ids that are stale or somebody else's are no ids."""
    alice, bob = await x.account("alice"), await x.account("bob")
    media_id = await alice.image_id()
    assert (await shows(bob, media_id)).status == 400
    assert (await bob.media_status(media_id)).status == 404
    assert (await shows(alice, "1")).status == 400
    x.clock.advance(DAY - 1)
    assert (await shows(alice, media_id)).status == 201
    x.clock.advance(2)
    assert (await shows(alice, media_id)).status == 400
    assert (await alice.media_status(media_id)).status == 404


async def test_a_post_shows_four_images_or_one_moving_picture(x: X) -> None:
    """The mix is X's rule, not a client's."""
    alice = await x.account()
    await x.send("PUT", "/sandbox/media/moods", body={"seconds": 0})
    images = [await alice.image_id() for _ in range(4)]
    videos = [(await alice.video(MP4))[0].json["data"]["id"] for _ in range(2)]
    assert (await shows(alice, *images)).status == 201
    assert (await shows(alice, videos[0])).status == 201
    assert (await shows(alice, *videos)).status == 400
    assert (await shows(alice, images[0], videos[0])).status == 400
    fields = {"ids": (await x.posts())[1]["id"], "tweet.fields": "attachments"}
    seen = (await alice.send("GET", "/2/tweets", query=fields)).json["data"][0]
    assert seen["attachments"] == {"media_keys": [f"7_{videos[0]}"]}


async def test_alternative_text_is_kept(x: X) -> None:
    """What a blind reader hears must be there to be tested."""
    alice = await x.account()
    media_id = await alice.image_id()
    body = {"id": media_id, "metadata": {"alt_text": {"text": "a red square"}}}
    assert (await alice.send("POST", "/2/media/metadata", body=body)).status == 200
    body["metadata"]["alt_text"]["text"] = "x" * 1001
    assert (await alice.send("POST", "/2/media/metadata", body=body)).status == 400
    assert (await alice.send("POST", "/2/media/metadata", body={"id": "1"})).status == 404
    assert (await x.send("GET", "/sandbox/media")).json["media"][0]["alt_text"] == "a red square"


async def test_x_refuses_media_calls_on_demand(x: X) -> None:
    """Outages happen in the middle of uploads too."""
    alice = await x.account()
    await x.send("PUT", "/sandbox/media/moods", body={"unavailable": 1, "rate_limited": 1})
    assert [(await alice.announce(MP4)).status for _ in range(3)] == [503, 429, 200]


async def test_a_restart_keeps_media_and_loses_what_was_under_way(
    tmp_path: Path, clock: FakeClock, session: aiohttp.ClientSession
) -> None:
    """Ids that clients remember stay good for their day."""
    settings = Settings(port=0, state_file=tmp_path / "state.jsonl")
    async with running(settings, clock) as url:
        alice = await X(url, clock, session).account()
        whole = await alice.image_id()
        open_id = (await alice.announce(MP4)).json["data"]["id"]
    async with running(settings, clock) as url:
        alice = await X(url, clock, session).account()
        assert (await shows(alice, whole)).status == 201
        path = f"{UPLOAD}/{open_id}/append"
        assert (await alice.upload(path, segment_index="0", media=MP4)).status == 404
