"""The port on tweepy's asynchronous client, one for each call, over the process's one way to X's host (`http.py`).

tweepy knows X's paths and parameters; it does not know another host, time limits, or what a lost answer means. The subclass below
replaces its one request method: it signs exactly the bytes that are sent, follows no redirect, bounds every phase,
keeps the headers, and returns the answer as it is, without judging it (`domain/outcomes.py` does). Nothing is repeated here, and
aiohttp itself repeats no POST.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from tweepy.asynchronous import AsyncClient

from mesh.clock import Clock
from mesh.errors import Unavailable
from services.bot_manager.domain.outcomes import (
    Exchange,
    Outcome,
    judge_create,
    judge_refusal,
    lost,
    not_sent,
)
from services.bot_manager.x import reading
from services.bot_manager.x.body import create_body
from services.bot_manager.x.errors import error_of
from services.bot_manager.x.http import BROKEN, NEVER_SENT, XHttp, cause
from services.bot_manager.x.port import (
    METRICS_BATCH,
    OAuth2Credentials,
    XAccount,
    XCredentials,
    XMetricsRead,
    XPost,
    XPostDraft,
    XTimeline,
)
from services.bot_manager.x.signing import authorization

TIMELINE_PAGE: Final = 100
MAX_PAGES: Final = 20
TIMELINE_FIELDS: Final = ("created_at", "entities", "referenced_tweets", "attachments")

# Their DEBUG lines hold tokens and signatures.
for _name in ("tweepy", "oauthlib"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class TweepyPort:
    """Implements XPort. `request_timeout` is asked for each call, so that the setting can change. Made inside the running loop."""

    def __init__(self, base_url: str, *, request_timeout: Callable[[], timedelta], clock: Clock) -> None:
        self.http = XHttp(base_url, request_timeout=request_timeout, clock=clock)
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    async def get_me(self, credentials: XCredentials) -> XAccount:
        """See XPort."""
        return reading.account(await self._read(self._client(credentials).get_me(user_auth=True)))

    async def create_post(self, credentials: XCredentials, draft: XPostDraft) -> Outcome:
        """See XPort."""
        started = self._clock.monotonic()
        try:
            # tweepy's create_tweet lacks made_with_ai, paid_partnership and community_id.
            exchange: Exchange = await self._client(credentials)._make_request(
                "POST", "/2/tweets", json=create_body(draft), user_auth=True
            )
        except NEVER_SENT as error:
            return not_sent(cause(error), self.http.since(started))
        except BROKEN as error:
            return lost(cause(error), self.http.since(started))
        return judge_create(exchange, self._clock.now())

    async def get_metrics(self, credentials: XCredentials, x_post_ids: Sequence[str]) -> XMetricsRead:
        """See XPort."""
        if not x_post_ids:
            return XMetricsRead({})
        if len(x_post_ids) > METRICS_BATCH:
            raise ValueError(f"at most {METRICS_BATCH} posts at a time")
        fields = ["public_metrics", "non_public_metrics"]
        request = self._client(credentials).get_tweets(list(x_post_ids), tweet_fields=fields, user_auth=True)
        return reading.metrics(await self._read(request))

    async def own_posts(
        self, credentials: XCredentials, user_id: str, since: datetime, limit: int = TIMELINE_PAGE
    ) -> XTimeline:
        """See XPort."""
        pages: list[XTimeline] = []
        found: list[XPost] = []
        token: str | None = None
        for _ in range(MAX_PAGES):
            document = await self._read(
                self._client(credentials).get_users_tweets(
                    user_id,
                    start_time=since.astimezone(UTC).replace(microsecond=0),
                    max_results=min(max(limit, 5), TIMELINE_PAGE),
                    tweet_fields=list(TIMELINE_FIELDS),
                    user_auth=True,
                    **({"pagination_token": token} if token else {}),
                )
            )
            pages.append(reading.timeline(document))
            token = reading.next_token(document)
            found = [post for page in pages for post in page.posts]
            if not token or len(found) >= limit:
                break
        return XTimeline(found, complete=not token and all(page.complete for page in pages))

    async def call(
        self,
        credentials: XCredentials,
        method: str,
        path: str,
        limit: timedelta,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        form: aiohttp.FormData | None = None,
    ) -> Exchange:
        """An answer of 2xx to a call that tweepy does not know and that may be repeated. Raises as `x/port.py` says."""
        client = self._client(credentials, limit)
        request = client.request(method, path, params=params, json=json, user_auth=True, data=form)
        exchange = await self._exchange(request)
        if not 200 <= exchange.status < 300:
            raise error_of(judge_refusal(exchange, self._clock.now()))
        return exchange

    async def _read(self, request: Any) -> Mapping[str, Any]:
        """The document that a reading call answers with. Raises as `x/port.py` says."""
        exchange = await self._exchange(request)
        if exchange.status != 200:
            raise error_of(judge_refusal(exchange, self._clock.now()))
        document = exchange.document()
        if not isinstance(document, dict):
            raise Unavailable("X_UNAVAILABLE", "X answered with something that is not JSON")
        return document

    async def _exchange(self, request: Any) -> Exchange:
        """Whatever X answers to a call that may be repeated. Raises Unavailable (X_UNAVAILABLE) without an answer."""
        started = self._clock.monotonic()
        try:
            exchange: Exchange = await request
        except NEVER_SENT as error:
            raise error_of(not_sent(cause(error), self.http.since(started))) from None
        except BROKEN as error:
            raise error_of(lost(cause(error), self.http.since(started))) from None
        return exchange

    def _client(self, credentials: XCredentials, limit: timedelta | None = None) -> "_Client":
        return _Client(self.http, credentials, limit)


class _Client(AsyncClient):  # type: ignore[misc]  # the library ships no types
    """tweepy's client for one call of one account. Its methods return the `Exchange`. `limit` is a time limit of its own."""

    def __init__(self, http: XHttp, credentials: XCredentials, limit: timedelta | None = None) -> None:
        # With this return type tweepy hands on what `request` returns, headers and all.
        super().__init__(return_type=aiohttp.ClientResponse)
        self._http = http
        self._limit = limit
        self._credentials = credentials

    async def request(
        self,
        method: str,
        route: str,
        params: Any = None,
        json: Any = None,
        user_auth: bool = False,
        data: aiohttp.FormData | None = None,
    ) -> Exchange:
        """Send one request, signed, and read the answer to its end. Raises what aiohttp raises.

        A body of either kind is no part of what is signed.
        """
        query = urlencode(sorted((params or {}).items()))
        url = f"{self._http.base_url}{route}" + (f"?{query}" if query else "")
        headers = self._signed(url, method) | {"User-Agent": self.user_agent}
        return await self._http.send(str(method), url, headers, limit=self._limit, json=json, data=data)

    def _signed(self, url: str, method: str) -> dict[str, str]:
        keys = self._credentials
        if isinstance(keys, OAuth2Credentials):
            return {"Authorization": f"Bearer {keys.access_token.reveal()}"}
        signed = authorization(
            method,
            url,
            consumer_key=keys.consumer_key,
            consumer_secret=keys.consumer_secret,
            token=keys.access_token,
            token_secret=keys.access_token_secret,
            now=self._http.clock.now().timestamp(),
        )
        return {"Authorization": signed}
