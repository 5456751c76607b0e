"""Bringing files to X through the adapter: signed as X wants it, and told apart when it goes wrong."""

from datetime import timedelta
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted, Unavailable
from mesh.secret import Secret
from services.bot_manager.domain.outcomes import Exchange
from services.bot_manager.x.media import MediaCalls
from services.bot_manager.x.port import OAuth1Credentials, XProcessing
from services.bot_manager.x.tweepy_port import TweepyPort
from tests.fakes.media import film, gif, picture
from tests.unit.services.bot_manager.x.conftest import Sandbox

LIMIT = timedelta(seconds=5)
P = XProcessing


@pytest.fixture
def calls(x: TweepyPort) -> MediaCalls:
    return MediaCalls(x, lambda: LIMIT)


async def send(
    calls: MediaCalls, keys: OAuth1Credentials, data: bytes, content_type: str, category: str
) -> Any:
    begun = await calls.initialize(keys, content_type, category, len(data))
    for index, start in enumerate(range(0, len(data), 500)):
        await calls.append(keys, begun.x_media_id, index, data[start : start + 500])
    return await calls.finalize(keys, begun.x_media_id)


async def test_files_arrive_whole_and_described(calls: MediaCalls, sandbox: Sandbox) -> None:
    """The signature is verified for real, and covers no multipart body."""
    _, keys = await sandbox.account()
    await sandbox.call("PUT", "/sandbox/media/moods", {"seconds": 0})
    image = await send(calls, keys, picture("JPEG", (300, 200)), "image/jpeg", "tweet_image")
    assert (image.processing, image.failure) == (P.SUCCEEDED, "")
    assert timedelta(hours=23) < image.expires_after <= timedelta(hours=24)
    await calls.describe(keys, image.x_media_id, "Grüße 日本")
    moving = await send(calls, keys, gif(3), "image/gif", "tweet_gif")
    video = await send(calls, keys, film(), "video/mp4", "tweet_video")
    for sent in (moving, video):
        assert (await calls.media_status(keys, sent.x_media_id)).processing is P.SUCCEEDED
    kept = (await sandbox.call("GET", "/sandbox/media"))["media"]
    assert [one["category"] for one in kept] == ["tweet_image", "tweet_gif", "tweet_video"]
    assert kept[0]["alt_text"] == "Grüße 日本"


async def test_processing_is_followed_to_its_end(calls: MediaCalls, sandbox: Sandbox) -> None:
    """X says when to ask again, and why it failed."""
    _, keys = await sandbox.account()
    await sandbox.call("PUT", "/sandbox/media/moods", {"seconds": 100})
    sent = await send(calls, keys, film(), "video/mp4", "tweet_video")
    assert (sent.processing, sent.check_after) == (P.PENDING, timedelta(seconds=5))
    assert (await calls.media_status(keys, sent.x_media_id)).processing is P.IN_PROGRESS
    await sandbox.call("PUT", "/sandbox/media/moods", {"seconds": 0, "failure": "Unsupported codec"})
    sent = await send(calls, keys, film(), "video/mp4", "tweet_video")
    found = await calls.media_status(keys, sent.x_media_id)
    assert (found.processing, found.failure, found.retryable) == (P.FAILED, "Unsupported codec", False)


async def test_refusals_are_told_apart(calls: MediaCalls, sandbox: Sandbox) -> None:
    """What to do depends on who is at fault: the file, the limit, X, or the keys."""
    _, keys = await sandbox.account()

    async def refused(kind: type[MeshError], **mood: int) -> MeshError:
        if mood:
            await sandbox.call("PUT", "/sandbox/media/moods", mood)
        with pytest.raises(kind) as error:
            await calls.initialize(keys, "video/mp4", "tweet_image", 100)
        return error.value

    assert (await refused(Unavailable, unavailable=1)).reason == "X_UNAVAILABLE"
    limited = await refused(ResourceExhausted, rate_limited=1)
    assert limited.reason == "X_RATE_LIMITED"
    assert timedelta(minutes=14) < limited.retry_after < timedelta(minutes=16)
    wrong = await refused(FailedPrecondition)
    assert (wrong.reason, wrong.metadata["httpStatus"]) == ("X_REJECTED", "400")
    assert "media_type" in wrong.metadata["problemDetail"]
    with pytest.raises(FailedPrecondition) as gone:
        await calls.append(keys, "404", 0, b"x")
    assert gone.value.metadata["httpStatus"] == "404"
    strange = OAuth1Credentials(*(Secret(name) for name in ("a", "b", "c", "d")))
    with pytest.raises(FailedPrecondition) as stranger:
        await calls.media_status(strange, "1")
    assert stranger.value.reason == "X_CREDENTIALS_REJECTED"


async def test_an_x_that_is_away_is_unavailable() -> None:
    """Nobody sees an upload, so a lost call is no more than a call to repeat."""
    port = TweepyPort("http://127.0.0.1:9", request_timeout=lambda: LIMIT, clock=SystemClock())
    keys = OAuth1Credentials(*(Secret(name) for name in ("a", "b", "c", "d")))
    try:
        with pytest.raises(Unavailable):
            await MediaCalls(port, lambda: LIMIT).initialize(keys, "image/png", "tweet_image", 1)
    finally:
        await port.close()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"data":{"id":"1"}}', (P.SUCCEEDED, "", False)),
        (b'{"data":{"id":"1","processing_info":{"state":"counting"}}}', (P.IN_PROGRESS, "", False)),
        (
            b'{"data":{"id":"1","processing_info":{"state":"failed","error":{"name":"InternalError","message":"oops"}}}}',
            (P.FAILED, "oops", True),
        ),
        (
            b'{"data":{"id":"1","processing_info":{"state":"failed"}},"errors":[{"title":"InvalidMedia","detail":"no"}]}',
            (P.FAILED, "no", False),
        ),
        (b'{"data":{"id":"1","processing_info":{"state":"failed"}},"errors":"?"}', (P.FAILED, "", False)),
    ],
)
async def test_every_way_in_which_x_tells_of_processing_is_understood(
    body: bytes, expected: tuple[P, str, bool]
) -> None:
    """X's specification and what X does are not quite the same."""

    class Answering:
        async def call(self, *_: object, **__: object) -> Exchange:
            return Exchange(200, {}, body)

    keys = OAuth1Credentials(*(Secret(name) for name in ("a", "b", "c", "d")))
    found = await MediaCalls(Answering(), lambda: LIMIT).media_status(keys, "1")
    assert (found.processing, found.failure, found.retryable) == expected


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"data":{}}', b'{"data":{"id":7}}', b'{"data":{"id":"../x"}}']
)
async def test_an_answer_without_an_id_is_no_answer(body: bytes) -> None:
    """The id becomes part of a path: only digits will do."""

    class Answering:
        async def call(self, *_: object, **__: object) -> Exchange:
            return Exchange(200, {}, body)

    keys = OAuth1Credentials(*(Secret(name) for name in ("a", "b", "c", "d")))
    with pytest.raises(Unavailable):
        await MediaCalls(Answering(), lambda: LIMIT).finalize(keys, "1")
