"""Reading a stream back, without a consumer: the server is asked for messages by number and changes nothing (JetStream's direct get).

That takes no more than the right to ask, which is why it is the way to read streams that are kept as evidence. Answers to one question
come one by one, the last one empty; a server that is silent, or a connection that is lost, is MessagingUnavailable.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from mesh.messaging.client import keep_cancellation, send
from mesh.messaging.failure import MessagingUnavailable

READ_TIMEOUT: Final = timedelta(seconds=5)
BATCH: Final = 500
_END: Final = "204"
_NOTHING: Final = "404"


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies in its stream, where its number is `sequence`."""

    sequence: int
    payload: bytes


async def read(client: Client, inbox: str, stream: str, subject: str) -> AsyncIterator[list[Stored]]:
    """Every message of a subject, oldest first, some hundred at a time. Raises MessagingUnavailable."""
    next_sequence = 1
    while True:
        question = {"seq": next_sequence, "next_by_subj": subject, "batch": BATCH}
        found = await _ask(client, inbox, f"$JS.API.DIRECT.GET.{stream}", json.dumps(question).encode())
        if found:
            yield found
        if len(found) < BATCH:
            return
        next_sequence = found[-1].sequence + 1


async def read_last(client: Client, inbox: str, stream: str, subject: str) -> Stored | None:
    """The newest message of a subject. Raises MessagingUnavailable."""
    question = json.dumps({"last_by_subj": subject}).encode()
    found = await _ask(client, inbox, f"$JS.API.DIRECT.GET.{stream}", question, most=1)
    return found[0] if found else None


async def _ask(client: Client, inbox: str, subject: str, question: bytes, most: int = BATCH) -> list[Stored]:
    answers: asyncio.Queue[Msg] = asyncio.Queue(maxsize=BATCH + 1)

    async def on_message(message: Msg) -> None:
        await answers.put(message)

    try:
        async with asyncio.timeout(READ_TIMEOUT.total_seconds()):
            subscription = await keep_cancellation(client.subscribe(inbox, cb=on_message))
            try:
                await send(client, subject, question, inbox)
                return await _collect(answers, most)
            finally:
                await subscription.unsubscribe()
    except TimeoutError:
        raise MessagingUnavailable("the stream did not answer in time") from None
    except (errors.Error, OSError) as error:
        raise MessagingUnavailable(f"the stream was not read: {type(error).__name__}") from None


async def _collect(answers: asyncio.Queue[Msg], most: int) -> list[Stored]:
    found: list[Stored] = []
    while len(found) < most:
        message = await answers.get()
        headers = message.headers or {}
        status = headers.get("Status")
        if status in (_END, _NOTHING):
            break
        if status or "Nats-Sequence" not in headers:
            raise MessagingUnavailable("the stream did not answer as it should", status=status or "")
        found.append(Stored(int(headers["Nats-Sequence"]), message.data))
    return found
