"""The sandbox's own paths under `/sandbox/`: what a person or a test does to this X from the outside.

    POST   /sandbox/accounts            {handle} → the account's id and its four OAuth 1.0a strings (200 if it existed)
    GET    /sandbox/posts[?user_id=]    every post that X displays now, oldest first, texts as they were sent
    PUT    /sandbox/posts/{id}/metrics  set counters; the others stay
    POST   /sandbox/faults              {kind, count?, probability?, seconds?, user_id?, endpoint?}; see `faults`
    GET    /sandbox/faults              the faults that still wait
    DELETE /sandbox/faults              forget them all
    GET    /sandbox/media               all media, oldest first: size, SHA-256, alternative text, state
    PUT    /sandbox/media/moods         {seconds?, failure?, failure_name?, unavailable?, rate_limited?}: see `media.Moods`

No sign-in: the sandbox listens on loopback and guards nothing. A wrong request gets 400
`{"error": {"field": …, "message": …}}` and changes nothing.
"""

import re
from dataclasses import asdict
from typing import cast

from aiohttp import web

from sandbox import body
from sandbox.clock import rfc3339
from sandbox.faults import fault_of
from sandbox.problems import Document, Invalid
from sandbox.store import METRICS, Post
from sandbox.world import World

MAX_METRIC = 10**12
_HANDLE = re.compile(r"[A-Za-z0-9_]{1,50}")
_GROUPS = ("public_metrics", "non_public_metrics", "organic_metrics")
_ALIASES = {
    "retweet_count": "repost_count",
    "impressions": "impression_count",
    "likes": "like_count",
    "reposts": "repost_count",
    "replies": "reply_count",
    "quotes": "quote_count",
    "bookmarks": "bookmark_count",
    "url_clicks": "url_link_clicks",
    "profile_clicks": "user_profile_clicks",
}
_METRIC = body.whole(0, MAX_METRIC)
_METRICS = dict.fromkeys((*METRICS, *_ALIASES), _METRIC)
_METRICS_BODY = body.record({**_METRICS, **dict.fromkeys(_GROUPS, body.record(_METRICS))})
_CALLS = body.whole(0, 1000)
_MOODS_BODY = body.record(
    {
        "seconds": body.whole(0, 86_400),
        "failure": body.string(0, 1000),
        "failure_name": body.string(1, 100),
        "unavailable": _CALLS,
        "rate_limited": _CALLS,
    }
)
_ACCOUNT_BODY = body.record({"handle": body.string()}, required=("handle",))


class Control:
    """The handlers of the control paths over one World."""

    def __init__(self, world: World) -> None:
        self._store = world.store
        self._faults = world.faults
        self._library = world.library

    def routes(self) -> list[web.RouteDef]:
        """Path → handler."""
        return [
            web.post("/sandbox/accounts", self._create_account),
            web.get("/sandbox/posts", self._list_posts),
            web.put("/sandbox/posts/{id}/metrics", self._set_metrics),
            web.post("/sandbox/faults", self._add_fault),
            web.get("/sandbox/faults", self._list_faults),
            web.delete("/sandbox/faults", self._clear_faults),
            web.get("/sandbox/media", self._list_media),
            web.put("/sandbox/media/moods", self._set_moods),
        ]

    async def _create_account(self, request: web.Request) -> web.Response:
        given = body.parse_object(await request.read())
        _ACCOUNT_BODY(given, "$")
        handle = cast("str", given["handle"]).removeprefix("@")
        if not _HANDLE.fullmatch(handle):
            raise Invalid("handle", "must have 1 to 50 letters, digits or underscores", handle)
        account, new = self._store.create_account(handle)
        return web.json_response(asdict(self._store.credentials(account)), status=201 if new else 200)

    async def _list_posts(self, request: web.Request) -> web.Response:
        for name in request.query:
            if name != "user_id":
                raise Invalid(name, "is not a known query parameter")
        posts = self._store.posts(request.query.get("user_id"))
        return web.json_response({"posts": [_post_json(post) for post in posts]})

    async def _set_metrics(self, request: web.Request) -> web.Response:
        post_id = request.match_info["id"]
        given = body.parse_object(await request.read())
        _METRICS_BODY(given, "$")
        if self._store.post(post_id) is None:
            raise web.HTTPNotFound(text=f"there is no post {post_id[:19]}")
        self._store.set_metrics(post_id, _flat(given))
        return web.json_response({"id": post_id, **self._store.metrics(post_id)})

    async def _add_fault(self, request: web.Request) -> web.Response:
        fault = fault_of(await request.read())
        self._faults.add(fault)
        return web.json_response(fault.as_json(), status=201)

    async def _list_faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [fault.as_json() for fault in self._faults.waiting()]})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        return web.json_response({"cleared": self._faults.clear()})

    async def _list_media(self, request: web.Request) -> web.Response:
        media = [asdict(one) | {"state": self._library.state(one)} for one in self._store.all_media()]
        return web.json_response({"media": media})

    async def _set_moods(self, request: web.Request) -> web.Response:
        given = body.parse_object(await request.read())
        _MOODS_BODY(given, "$")
        for name, value in given.items():
            setattr(self._library.moods, name, value)
        return web.json_response(asdict(self._library.moods))


def _post_json(post: Post) -> Document:
    return {
        "id": post.id,
        "user_id": post.user_id,
        "text": post.text,
        "created_at": rfc3339(post.created_ms),
        "in_reply_to": post.in_reply_to,
        "media_ids": list(post.media_ids),
        "poll": asdict(post.poll) if post.poll else None,
    }


def _flat(given: dict[str, object]) -> dict[str, int]:
    """Counters by the store's names, from X's groups, its old names or the short names of statistics."""
    changes: dict[str, int] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            changes |= _flat(value)
        else:
            changes[_ALIASES.get(name, name)] = cast("int", value)
    return changes
