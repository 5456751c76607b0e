"""Pictures through the public doors: uploaded over REST, shown by a post, seen on X."""

import hashlib
from typing import Any

import httpx
import pytest

from cli.rest import Api
from tests.e2e.conftest import PASSWORD, Running
from tests.e2e.test_main_job import connected_bot, settled
from tests.fakes.media import film, picture


@pytest.fixture
def authorization(running: Running) -> dict[str, str]:
    """The header of a signed-in administrator."""
    with Api(running.url) as api:
        return {"authorization": f"Bearer {api.sign_in('admin', PASSWORD)['accessToken']}"}


def upload(running: Running, headers: dict[str, str], **request: Any) -> httpx.Response:
    """POST /api/v1/media."""
    return httpx.post(f"{running.url}/api/v1/media", headers=headers, timeout=30, **request)


def test_a_post_shows_the_files_that_were_uploaded(
    running: Running, api: Api, sandbox: Api, authorization: dict[str, str]
) -> None:
    """Raw bytes and a form both work, the type is what the bytes say, and X gets picture, film and alternative text."""
    bot, account = connected_bot(api, sandbox, "photographer")
    image, video = picture("JPEG", (640, 480)), film(3, pad=5_000_000)
    raw = upload(
        running,
        authorization
        | {"content-type": "text/plain", "idempotency-key": "0190f6a0-0000-7000-8000-000000000001"},
        params={"botId": bot["id"], "altText": "a red wall", "filename": "wall.jpg"},
        content=image,
    )
    assert raw.status_code == 200, raw.text
    stored = raw.json()
    assert (stored["contentType"], stored["kind"], stored["altText"]) == (
        "image/jpeg",
        "MEDIA_KIND_IMAGE",
        "a red wall",
    )
    assert api.get(f"/api/v1/media/{stored['id']}") == stored
    form = upload(
        running, authorization, data={"bot_id": bot["id"]}, files={"file": ("film.mp4", video, "video/mp4")}
    )
    assert form.status_code == 200, form.text
    parts = [
        {"text": "look", "mediaIds": [stored["id"]]},
        {"text": "and see", "mediaIds": [form.json()["id"]]},
    ]
    post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"parts": parts}, publishNow="true")
    assert settled(api, post["id"])["state"] == "POST_STATE_PUBLISHED"
    shown = sandbox.get("/sandbox/posts", user_id=account["user_id"])["posts"]
    kept = {one["id"]: one for one in sandbox.get("/sandbox/media")["media"]}
    assert [kept[one["media_ids"][0]]["sha256"] for one in shown] == [
        hashlib.sha256(data).hexdigest() for data in (image, video)
    ]
    assert kept[shown[0]["media_ids"][0]]["alt_text"] == "a red wall"
    story = api.get(f"/api/v1/posts/{post['id']}/timeline")["entries"]
    assert sum(entry["kind"] == "TIMELINE_KIND_MEDIA_UPLOADED" for entry in story) == 2


def test_what_x_would_not_take_is_refused_over_rest(running: Running, authorization: dict[str, str]) -> None:
    """The refusal is a status, a reason and a sentence, also for a body that is still coming."""
    answer = upload(running, authorization, content=b"%PDF-1.7" + bytes(20_000_000))
    assert answer.status_code == 400
    assert answer.json()["details"][0]["reason"] == "MEDIA_UNSUPPORTED"
    assert "JPEG, PNG, WebP, GIF, MP4 or MOV" in answer.json()["message"]
