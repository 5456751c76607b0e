"""X's own paths: `/2/tweets`, `/2/users/me`, `/2/users/{id}/tweets`.

Each request goes: whose is it, by OAuth 1.0a signature or OAuth 2.0 token with its scopes → rate limit → the endpoint. The endpoint works without waiting for anything, so the
state never shows half a change; only faults wait, and they do so before or after the change.
Media have handlers of their own (`media_api`); everything else of X answers 404.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from sandbox import mishaps, posts, problems, query, views
from sandbox.faults import AFTER_STORING
from sandbox.media_api import MediaApi
from sandbox.oauth1 import Refused
from sandbox.oauth2 import BadToken
from sandbox.problems import Document, Invalid, Problem
from sandbox.store import Account
from sandbox.world import World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a known account; `limits` are the rate-limit headers of its answer."""

    request: web.Request
    raw: bytes
    account: Account
    limits: dict[str, str]


READ = ("tweet.read", "users.read")
SCOPES = {
    "create_post": (*READ, "tweet.write"),
    "delete_post": (*READ, "tweet.write"),
    "get_posts": READ,
    "get_me": READ,
    "get_user_posts": READ,
    **dict.fromkeys(
        (
            "initialize_media",
            "append_media",
            "finalize_media",
            "get_media_status",
            "upload_media",
            "describe_media",
        ),
        ("media.write",),
    ),
}
"""What an OAuth 2.0 token must have been granted, by endpoint."""

Endpoint = Callable[[Call], Awaitable[web.StreamResponse]]


class Api:
    """The handlers of X's paths over one World."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = world.store

    def routes(self) -> list[web.RouteDef]:
        """Path → handler."""
        return [
            web.post("/2/tweets", self._signed("create_post", self._create_post)),
            web.get("/2/tweets", self._signed("get_posts", self._get_posts)),
            web.delete("/2/tweets/{id}", self._signed("delete_post", self._delete_post)),
            web.get("/2/users/me", self._signed("get_me", self._get_me)),
            web.get("/2/users/{id}/tweets", self._signed("get_user_posts", self._get_user_posts)),
            *MediaApi(self._world.library).routes(self._signed),
        ]

    def _signed(self, name: str, endpoint: Endpoint, most: int | None = None) -> Handler:
        """The endpoint behind authentication and rate limits; `most`: bytes of a body larger than the usual limit."""

        async def handle(request: web.Request) -> web.StreamResponse:
            raw = await request.read() if most is None else await _read(request, most)
            account = self._authenticate(request, SCOPES[name])
            verdict = self._world.limits.take(name, account.user_id)
            if not verdict.allowed:
                raise problems.too_many_requests(verdict.headers)
            try:
                response = await endpoint(Call(request, raw, account, verdict.headers))
            except Invalid as wrong:
                problem = problems.invalid_request(wrong)
                problem.headers |= verdict.headers
                raise problem from wrong
            except Problem as problem:
                problem.headers = verdict.headers | problem.headers
                raise
            response.headers.update(verdict.headers)
            return response

        return handle

    def _authenticate(self, request: web.Request, scopes: Sequence[str]) -> Account:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        user_id = self._granted(token, scopes) if kind.lower() == "bearer" else self._signer(request)
        account = self._store.account(user_id)
        if account is None:
            raise problems.unauthorized("unknown account")
        return account

    def _granted(self, token: str, scopes: Sequence[str]) -> str:
        try:
            user_id, missing = self._store.oauth2.user_of(token, scopes)
        except BadToken as refused:
            raise problems.unauthorized(str(refused)) from refused
        if missing:
            raise problems.plain(403, headers={"x-sandbox-reason": f"the token lacks {' '.join(missing)}"})
        return user_id

    def _signer(self, request: web.Request) -> str:
        # The client signed the URL as it wrote it: scheme, Host header and the path and query as they came.
        url = f"{request.scheme}://{request.host}{request.raw_path}"
        try:
            return self._world.verifier.verify(request.method, url, request.headers.get("Authorization", ""))
        except Refused as refused:
            raise problems.unauthorized(str(refused)) from refused

    async def _create_post(self, call: Call) -> web.StreamResponse:
        world, user_id = self._world, call.account.user_id
        fault = world.faults.draw(user_id)
        if fault and fault.kind not in AFTER_STORING:
            return await mishaps.instead_of_storing(
                fault, call.request, call.limits, world.clock, world.stopping
            )
        try:
            answer = self._store_post(call, user_id)
        except Exception:
            if fault:
                world.faults.give_back(fault)
            raise
        if fault:
            return await mishaps.after_storing(fault, call.request, answer, world.stopping)
        return web.json_response({"data": answer}, status=201)

    def _store_post(self, call: Call, user_id: str) -> Document:
        if call.request.content_type != "application/json":
            raise Invalid("Content-Type", "must be application/json", call.request.content_type)
        draft = posts.draft_of(call.raw)
        posts.check_against(self._store, user_id, draft, self._world.settings.duplicate_window_seconds)
        self._world.library.check_usable(user_id, draft.media_ids)
        post = self._store.add_post(user_id, draft)
        self._world.faults.stored(user_id, post.id)
        return views.created_view(post)

    async def _delete_post(self, call: Call) -> web.StreamResponse:
        post_id = call.request.match_info["id"]
        post = self._store.post(post_id)
        if post is None:
            raise problems.not_found("tweet", "id", post_id)
        if post.user_id != call.account.user_id:
            raise problems.plain(403, "You are not permitted to perform this action.")
        self._store.delete_post(post_id)
        return web.json_response({"data": {"deleted": True}})

    async def _get_posts(self, call: Call) -> web.StreamResponse:
        asked = call.request.query
        query.check_names(asked, {"ids"})
        viewer = self._viewer(call)
        data: list[Document] = []
        errors: list[Document] = []
        for post_id in query.ids(asked):
            post = self._store.post(post_id)
            if post is None:
                errors.append(problems.not_found_document(viewer.words.post, "ids", post_id))
                continue
            shown, hidden = views.post_view(self._store, post, viewer)
            data.append(shown)
            errors.extend(hidden)
        return web.json_response(_partial(data, errors))

    async def _get_me(self, call: Call) -> web.StreamResponse:
        asked = call.request.query
        query.check_names(asked, set())
        _, words = query.post_fields(asked)
        return web.json_response(
            {"data": views.user_view(self._store, call.account, query.user_fields(asked), words)}
        )

    async def _get_user_posts(self, call: Call) -> web.StreamResponse:
        asked = call.request.query
        query.check_names(
            asked,
            {"max_results", "pagination_token", "start_time", "end_time", "since_id", "until_id", "exclude"},
        )
        viewer, page = self._viewer(call), query.page(asked)
        user_id = call.request.match_info["id"]
        if self._store.account(user_id) is None:
            return web.json_response({"errors": [problems.not_found_document("user", "id", user_id)]})
        wanted = [
            post
            for post in reversed(self._store.posts(user_id))
            if page.wants(post) and not self._world.faults.hides(post.id)
        ]
        here = wanted[: page.size]
        meta: Document = {"result_count": len(here)}
        if here:
            meta |= {"newest_id": here[0].id, "oldest_id": here[-1].id}
        if len(wanted) > len(here):
            meta["next_token"] = query.token_after(here[-1])
        views_of = [views.post_view(self._store, post, viewer) for post in here]
        errors = [error for _, hidden in views_of for error in hidden]
        return web.json_response(_partial([shown for shown, _ in views_of], errors) | {"meta": meta})

    def _viewer(self, call: Call) -> views.Viewer:
        fields, words = query.post_fields(call.request.query)
        return views.Viewer(call.account.user_id, self._world.clock(), fields, words)


async def _read(request: web.Request, most: int) -> bytes:
    """The body, up to `most` bytes."""
    pieces = bytearray()
    async for piece in request.content.iter_any():
        pieces += piece
        if len(pieces) > most:
            raise web.HTTPRequestEntityTooLarge(most, len(pieces))
    return bytes(pieces)


def _partial(data: list[Document], errors: list[Document]) -> Document:
    answer: Document = {}
    if data:
        answer["data"] = data
    if errors:
        answer["errors"] = errors
    return answer
