"""Clients and a clock for the sandbox's tests: tweepy pointed at another host, and plain signed requests."""

import asyncio
import io
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import requests
import tweepy
from oauthlib.oauth1 import Client as Signer
from tweepy.asynchronous import AsyncClient
from yarl import URL

Keys = dict[str, str]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
MP4 = b"\0\0\0\x18ftypisom" + bytes(100)
KEY_NAMES = ("consumer_key", "consumer_secret", "access_token", "access_token_secret")


@dataclass
class FakeClock:
    """Time that moves only when told."""

    now: float = 1_795_000_000.25

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        """The body as JSON: whatever the server sent."""
        return json.loads(self.body)


@dataclass(frozen=True)
class X:
    """A running sandbox, seen from outside, and its clock."""

    url: str
    clock: FakeClock
    session: aiohttp.ClientSession = field(repr=False)

    async def send(self, method: str, path: str, *, body: object = None, **more: object) -> Answer:
        """A request without a signature; `data` and `headers` pass through."""
        if body is not None:
            more["json"] = body
        return await self._read(method, self.url + path, **more)

    async def account(self, handle: str = "alice") -> "Account":
        """A signed-in account."""
        keys = (await self.send("POST", "/sandbox/accounts", body={"handle": handle})).json
        return Account(self, keys.pop("user_id"), keys)

    async def posts(self) -> list[dict[str, object]]:
        """Everything the sandbox displays."""
        return (await self.send("GET", "/sandbox/posts")).json["posts"]

    async def fault(self, kind: str, **more: object) -> Answer:
        """Ask for a fault."""
        return await self.send("POST", "/sandbox/faults", body={"kind": kind, **more})

    async def _read(self, method: str, url: str, **more: object) -> Answer:
        timeout = aiohttp.ClientTimeout(total=5)
        async with self.session.request(method, URL(url, encoded=True), timeout=timeout, **more) as response:
            return Answer(
                response.status, {k.lower(): v for k, v in response.headers.items()}, await response.text()
            )


@dataclass(frozen=True)
class Account:
    """Somebody with keys."""

    x: X
    user_id: str
    keys: Keys

    def authorization(self, method: str, url: str, **signing: str) -> str:
        """The OAuth 1.0a header for a request; `signing` overrides nonce, timestamp or keys."""
        options = {"timestamp": str(int(self.x.clock())), **signing}
        own = {name: options.pop(name, self.keys[name]) for name in KEY_NAMES}
        signer = Signer(
            own["consumer_key"],
            own["consumer_secret"],
            own["access_token"],
            own["access_token_secret"],
            **options,
        )
        return signer.sign(url, method)[1]["Authorization"]

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: dict[str, object] | None = None,
        **signing: str,
    ) -> Answer:
        """A signed request."""
        url = self.x.url + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": self.authorization(method, url, **signing)}
        more = {} if body is None else {"json": body}
        return await self.x._read(method, url, headers=headers, **more)

    async def post(self, text: str, **more: object) -> Answer:
        """`POST /2/tweets`."""
        return await self.send("POST", "/2/tweets", body={"text": text, **more})

    async def post_id(self, text: str, **more: object) -> str:
        """Publish a post that must succeed; its id."""
        answer = await self.post(text, **more)
        assert answer.status == 201, answer.body
        return answer.json["data"]["id"]

    async def upload(self, path: str, **fields: bytes | str) -> Answer:
        """A signed multipart request; `media` goes as a file."""
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in fields.items():
            if isinstance(value, bytes):
                form.add_field(name, io.BytesIO(value), filename="file")
            else:
                form.add_field(name, value)
        headers = {"Authorization": self.authorization("POST", self.x.url + path)}
        return await self.x._read("POST", self.x.url + path, headers=headers, data=form)

    async def announce(
        self, data: bytes, media_type: str = "video/mp4", category: str = "tweet_video"
    ) -> Answer:
        """The first step of an upload."""
        body = {"media_type": media_type, "media_category": category, "total_bytes": len(data)}
        return await self.send("POST", "/2/media/upload/initialize", body=body)

    async def video(self, data: bytes, **kind: str) -> list[Answer]:
        """All steps of an upload of one segment."""
        begun = await self.announce(data, **kind)
        path = f"/2/media/upload/{begun.json['data']['id']}"
        appended = await self.upload(f"{path}/append", segment_index="0", media=data)
        return [begun, appended, await self.send("POST", f"{path}/finalize")]

    async def media_status(self, media_id: str) -> Answer:
        """How far X is."""
        return await self.send("GET", "/2/media/upload", query={"command": "STATUS", "media_id": media_id})

    async def image_id(self, data: bytes = PNG) -> str:
        """An image that a post may show."""
        answer = await self.upload("/2/media/upload", media=data, media_category="tweet_image")
        assert answer.status == 200, answer.body
        return answer.json["data"]["id"]

    async def timeline(self, **query: object) -> Answer:
        """The account's own timeline."""
        return await self.send("GET", f"/2/users/{self.user_id}/tweets", query=query)


class TweepyAsync(AsyncClient):
    """tweepy's asynchronous client with a base URL and a timeout."""

    def __init__(
        self, base_url: str, session: aiohttp.ClientSession, timeout_seconds: float = 5, **keys: str
    ) -> None:
        super().__init__(**keys)
        self.session = session
        self._base_url = base_url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def request(self, method, route, params=None, json=None, user_auth=False):
        """As tweepy's, but signs and calls `base_url`, and reads an error body of any content type."""
        query = urlencode(sorted((params or {}).items()))
        url = f"{self._base_url}{route}" + (f"?{query}" if query else "")
        signer = Signer(self.consumer_key, self.consumer_secret, self.access_token, self.access_token_secret)
        _, headers, _ = signer.sign(url, method)
        target = URL(url, encoded=True)
        async with self.session.request(
            method, target, json=json, headers=headers, timeout=self._timeout
        ) as response:
            await response.read()
        if response.ok:
            return response
        problem = await response.json() if "json" in response.content_type else {"detail": response.reason}
        error = {
            400: tweepy.BadRequest,
            401: tweepy.Unauthorized,
            403: tweepy.Forbidden,
            404: tweepy.NotFound,
        }
        if response.status == 429:
            reset = int(response.headers["x-rate-limit-reset"])
            raise tweepy.TooManyRequests(response, response_json=problem, reset_time=reset)
        raise error.get(response.status, tweepy.TwitterServerError)(response, response_json=problem)


class RedirectedSession(requests.Session):
    """Sends what tweepy addresses to X to another host, before it is signed."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self._base_url = base_url
        self.trust_env = False

    def request(self, method, url, **more):
        """As requests', with the host replaced and a timeout."""
        here = url.replace("https://api.twitter.com", self._base_url, 1)
        return super().request(method, here, timeout=5, **more)


async def in_thread(call, *args, **more):
    """Run a blocking call while this loop keeps serving."""
    return await asyncio.to_thread(call, *args, **more)
