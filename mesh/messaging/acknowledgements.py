"""The answers of JetStream to what this process publishes: one inbox, one future per message in flight.

nats-py's own `publish_async` may wait for ever: answers that never come and server errors leave its futures pending and its
semaphore taken. Here a lost connection fails every future at once, and the caller's time limit does the rest.
"""

import asyncio
import json
from itertools import count

from nats.aio.msg import Msg

from mesh.messaging.failure import MessagingUnavailable

NO_RESPONDERS = "503"


class Acknowledgements:
    """Futures of messages in flight, by the last token of their reply subject."""

    def __init__(self, inbox: str) -> None:
        self.subject = f"{inbox}.*"
        self._inbox = inbox
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self) -> tuple[str, asyncio.Future[None]]:
        """A reply subject and the future of its answer, which raises MessagingUnavailable. Give it back with `forget`."""
        token = str(next(self._numbers))
        future = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        return f"{self._inbox}.{token}", future

    def forget(self, reply: str) -> None:
        """Nobody waits any more."""
        future = self._waiting.pop(reply.rpartition(".")[2], None)
        if future is not None and not future.cancel() and not future.cancelled():
            future.exception()  # seen, so that the loop does not complain

    def fail_all(self, message: str) -> None:
        """The connection is gone: no answer will come."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(MessagingUnavailable(message))

    async def receive(self, message: Msg) -> None:
        """Callback of the inbox."""
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        error = _refusal(message)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _refusal(message: Msg) -> MessagingUnavailable | None:
    if message.headers and message.headers.get("Status") == NO_RESPONDERS:
        return MessagingUnavailable("no stream stores this subject")
    try:
        answer = json.loads(message.data)
    except ValueError:
        return MessagingUnavailable("the acknowledgement could not be read")
    error = answer.get("error")
    if error is None:
        return None
    return MessagingUnavailable("the stream refused the message", errorCode=str(error.get("err_code", "")))
