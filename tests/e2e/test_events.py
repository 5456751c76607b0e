"""What happens is told as it happens: to a program that holds a stream open, and to one that is called."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cli.rest import Api, ApiError
from tests.e2e.test_main_job import connected_bot, eventually, settled

SWITCHES = ("bot_manager.webhooks.allow_http", "bot_manager.webhooks.allow_private")


@dataclass
class Receiver:
    """What a customer runs, beside the mesh and without TLS."""

    url: str = ""
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        """Take whatever comes."""
        self.calls.append((dict(request.headers), await request.read()))
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """On a free port of its own."""
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/hook", receiver.receive)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


@pytest.fixture
def near(api: Api) -> Iterator[None]:
    """Receivers beside the mesh may be called, for the length of a test."""
    for key in SWITCHES:
        api.call("PATCH", f"/api/v1/settings/{key}", {"value": True})
    yield
    for key in SWITCHES:
        api.call("PATCH", f"/api/v1/settings/{key}", {"value": False})


def created(api: Api, webhook: dict[str, Any]) -> dict[str, Any]:
    """The webhook, once the service has heard of the settings that allow it."""

    def attempt() -> dict[str, Any]:
        try:
            return api.post("/api/v1/webhooks", webhook)
        except ApiError as refused:
            if refused.fields != ["webhook.url"]:
                raise
            return {}

    made: dict[str, Any] = eventually(attempt, bool)
    return made


def is_genuine(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """As receivers are told to check."""
    parts = dict(part.split("=", 1) for part in headers["Vivesphere-Signature"].split(","))
    expected = hmac.new(secret.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"])


def test_a_webhook_is_told_that_a_post_is_out(api: Api, sandbox: Api, near: None, receiver: Receiver) -> None:
    """Signed with the secret that was shown once, about this bot alone, and the log says that it was taken."""
    bot, _ = connected_bot(api, sandbox, "told_about")
    other, _ = connected_bot(api, sandbox, "not_told_about")
    wanted = {"url": receiver.url, "types": ["EVENT_TYPE_POST_STATE_CHANGED"], "botIds": [bot["id"]]}
    made = created(api, wanted)
    hook = f"/api/v1/webhooks/{made['webhook']['id']}"
    posts = [
        api.post(
            f"/api/v1/bots/{one['id']}/posts", {"text": f"tell them, {one['handle']}"}, publishNow="true"
        )
        for one in (other, bot)
    ]
    xs = [settled(api, post["id"])["xPostIds"] for post in posts]

    def published() -> list[dict[str, Any]]:
        told = [json.loads(body) for _, body in receiver.calls]
        return [event for event in told if event["postState"]["toState"] == "POST_STATE_PUBLISHED"]

    [event] = eventually(published, bool)
    assert (event["botId"], event["postId"]) == (bot["id"], posts[1]["id"])
    assert event["postState"]["xPostIds"] == xs[1]
    assert made["secret"].startswith("whsec_")
    assert all(is_genuine(headers, body, made["secret"]) for headers, body in receiver.calls)
    assert made["secret"] not in str(api.get(hook))

    def states() -> set[str]:
        return {one["state"] for one in api.get(f"{hook}/deliveries")["deliveries"]}

    taken = {"WEBHOOK_DELIVERY_STATE_DELIVERED"}
    assert eventually(states, lambda seen: seen == taken) == taken
    api.call("DELETE", hook)


def test_who_watches_sees_a_post_go_out_and_goes_on_where_it_broke_off(api: Api, sandbox: Api) -> None:
    """Each step in order, over REST, and nothing of what happened while nobody held the stream."""
    bot, _ = connected_bot(api, sandbox, "listened_to")
    path, steps = "/api/v1/events:watch", {"botId": bot["id"], "types": "EVENT_TYPE_POST_STATE_CHANGED"}
    with closing(api.stream(path, **steps)) as stream:
        first = next(stream)
        assert "event" not in first
        post = api.post(f"/api/v1/bots/{bot['id']}/posts", {"text": "look here"}, publishNow="true")
        seen = [*takewhile(lambda item: not is_out(item), stream)]
    states = [item["event"]["postState"]["toState"] for item in seen if "event" in item]
    assert states == ["POST_STATE_SCHEDULED", "POST_STATE_CLAIMED", "POST_STATE_PUBLISHING"]
    assert {item["event"]["postId"] for item in seen if "event" in item} == {post["id"]}
    with closing(api.stream(path, **steps, resumeToken=first["resumeToken"])) as stream:
        again = [*takewhile(lambda item: not is_out(item), stream)]
    ids = [[item["event"]["id"] for item in items if "event" in item] for items in (seen, again)]
    assert ids[0] == ids[1]


def is_out(item: dict[str, Any]) -> bool:
    """Whether it tells that a post is published."""
    state = item.get("event", {}).get("postState", {}).get("toState")
    return bool(state == "POST_STATE_PUBLISHED")
