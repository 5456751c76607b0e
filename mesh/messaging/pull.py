"""Taking messages from a durable pull consumer by its name: one request at a time, watched by heartbeats.

A request goes to `$JS.API.CONSUMER.MSG.NEXT.<stream>.<durable>` with a private inbox; messages and status lines come back there.
This needs no permission to look up or create anything. The server answers every request in the end: with as many messages as
were asked for, or with a status; heartbeats on the way tell silence from idleness.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from mesh.messaging.client import keep_cancellation, send
from mesh.messaging.message import Message

EXPIRES = timedelta(seconds=30)
HEARTBEAT = timedelta(seconds=5)
MISSED_HEARTBEATS = 3
NOW = timedelta()

IDLE = "100"
NO_RESPONDERS = "503"
# 404 no messages, 408 expired: a request has ended as requests do. 409 may also say that the consumer is gone.
ENDED = frozenset({"404", "408"})


class PullLost(Exception):
    """No messages will come this way any more: connection lost, consumer missing, or the server is silent."""


class Pull:
    """One binding to one durable. Messages that wait here are held for nobody else, so close it when done."""

    def __init__(
        self,
        client: Client,
        respond: Callable[[str, bytes], Awaitable[None]],
        stream: str,
        durable: str,
        inbox: str,
    ) -> None:
        self._client = client
        self._respond = respond
        self._request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = inbox
        self._buffer: deque[Message] = deque()
        self._news = asyncio.Event()
        self._outstanding = 0
        self._lost = ""
        self._subscription: Subscription | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits here and nothing was asked for."""
        return not self._buffer and self._outstanding == 0

    def waiting(self) -> list[Message]:
        """Messages that have come and were not taken."""
        return list(self._buffer)

    async def open(self) -> None:
        """Listen to the inbox."""
        try:
            self._subscription = await keep_cancellation(
                self._client.subscribe(self._inbox, cb=self._receive, pending_bytes_limit=0)
            )
        except (errors.Error, OSError) as error:
            raise PullLost(type(error).__name__) from None

    async def request(self, count: int) -> None:
        """Ask for up to `count` messages; only when idle."""
        body = {
            "batch": count,
            "expires": int(EXPIRES.total_seconds() * 1_000_000_000),
            "idle_heartbeat": int(HEARTBEAT.total_seconds() * 1_000_000_000),
        }
        self._outstanding = count
        try:
            await send(self._client, self._request_subject, json.dumps(body).encode(), self._inbox)
        except (errors.Error, OSError) as error:
            raise PullLost(type(error).__name__) from None

    async def take(self, patience: timedelta | None = None) -> Message | None:
        """The next message; None when the request has ended without one, or after `patience`. Raises PullLost."""
        silence = MISSED_HEARTBEATS * HEARTBEAT
        while not self._buffer:
            if self._lost:
                raise PullLost(self._lost)
            if self._outstanding == 0:
                return None
            self._news.clear()
            try:
                async with asyncio.timeout((patience or silence).total_seconds()):
                    await self._news.wait()
            except TimeoutError:
                if patience is not None:
                    return None
                raise PullLost("no heartbeat") from None
        return self._buffer.popleft()

    def lose(self, reason: str = "connection lost") -> None:
        """Wake whoever waits with PullLost, once what has come is taken."""
        self._lost = self._lost or reason
        self._news.set()

    async def close(self) -> None:
        """Stop listening and let others have what waits here."""
        if self._subscription is not None:
            with suppress(errors.Error, OSError):
                await keep_cancellation(self._subscription.unsubscribe())
        while self._buffer:
            await self._buffer.popleft().retry(NOW)

    async def _receive(self, raw: Msg) -> None:
        headers = raw.headers or {}
        status = headers.get("Status")
        if status is None:
            self._outstanding = max(0, self._outstanding - 1)
            self._buffer.append(Message(raw.subject, raw.data, headers, raw.reply, self._respond))
        elif status in ENDED:
            self._outstanding = 0
        elif status == NO_RESPONDERS:
            self.lose("consumer missing")
        elif status != IDLE:
            self._outstanding = 0
            self._judge(headers.get("Description", ""))
        self._news.set()

    def _judge(self, description: str) -> None:
        """409: batch done, or the consumer is gone, or its leader moved; all but the first call for a new start."""
        if description.lower() != "batch completed":
            self.lose(description.lower() or "refused")
