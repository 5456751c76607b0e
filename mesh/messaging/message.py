"""One message of a durable consumer, and what a handler can say about it.

    handler returns        → acknowledged, never delivered again
    raises Retry(delay)    → delivered again after the delay
    raises Reject(reason)  → never delivered again; the server announces it on its advisory subject
    raises anything else   → logged, delivered again after a pause that grows with the number of deliveries

A batch handler may decide message by message with `message.retry()` and `message.reject()`; what it leaves alone goes by the rule
above. Exactly one final answer leaves per delivery. An answer can be lost on its way, so handlers must bear a message twice.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

ACK = b"+ACK"
PROGRESS = b"+WPI"
MESSAGE_ID = "Nats-Msg-Id"
MAX_REASON_CHARS = 200

# Reply subjects: $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>, and since server 2.15
# $JS.ACK.<domain or _>.<account hash>.<stream>. … the same (nats-server ADR-15).
_V1_TOKENS = 9
_V2_OFFSET = 2


class Retry(Exception):
    """Deliver again after `delay`."""

    def __init__(self, delay: timedelta) -> None:
        super().__init__(f"retry after {delay.total_seconds()} s")
        self.delay = delay


class Reject(Exception):
    """Never deliver again; `reason` is a short constant text without data."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Message:
    """One delivery. `deliveries` counts from 1; `id` is the producer's message id, or stream and sequence where it gave none."""

    __slots__ = (
        "_answered",
        "_reply",
        "_respond",
        "deliveries",
        "headers",
        "id",
        "payload",
        "sequence",
        "subject",
    )

    def __init__(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str],
        reply: str,
        respond: Callable[[str, bytes], Awaitable[None]],
    ) -> None:
        stream, deliveries, sequence = parse_reply(reply)
        self.subject = subject
        self.payload = payload
        self.headers = headers
        self.deliveries = deliveries
        self.sequence = sequence
        self.id = headers.get(MESSAGE_ID) or f"{stream}:{sequence}"
        self._reply = reply
        self._respond = respond
        self._answered = False

    @property
    def answered(self) -> bool:
        """Whether a final answer was given."""
        return self._answered

    async def in_progress(self) -> None:
        """Still working: the server starts the wait for an answer anew. Free to call at any time, does nothing once answered."""
        if not self._answered:
            await self._respond(self._reply, PROGRESS)

    async def ack(self) -> None:
        """Done. Consumers call this for handlers; a batch handler may for some messages."""
        await self._answer(ACK)

    async def retry(self, delay: timedelta) -> None:
        """Deliver again after `delay`."""
        nanoseconds = max(1, int(delay.total_seconds() * 1_000_000_000))
        await self._answer(b"-NAK " + json.dumps({"delay": nanoseconds}).encode())

    async def reject(self, reason: str) -> None:
        """Never deliver again."""
        text = " ".join(reason.split())[:MAX_REASON_CHARS]
        await self._answer(f"+TERM {text}".encode())

    async def _answer(self, body: bytes) -> None:
        if not self._answered:
            self._answered = True
            await self._respond(self._reply, body)


def parse_reply(reply: str) -> tuple[str, int, int]:
    """Stream, number of deliveries and stream sequence out of a reply subject. Raises ValueError for any other subject."""
    tokens = reply.split(".")
    if tokens[:2] != ["$JS", "ACK"] or len(tokens) < _V1_TOKENS:
        raise ValueError("not a JetStream reply subject")
    at = 2 if len(tokens) == _V1_TOKENS else 2 + _V2_OFFSET
    return tokens[at], int(tokens[at + 2]), int(tokens[at + 3])
