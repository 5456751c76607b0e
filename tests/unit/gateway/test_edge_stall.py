"""Laws of clients that stop reading, by a loop whose time the tests move."""

import asyncio
from typing import Any, cast

import pytest

from gateway.edge.stall import StallGuard
from gateway.exchange import Exchange
from gateway.metadata import RequestHeaders


class Loop:
    """The two methods of an event loop that a guard uses, with time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[tuple[float, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Any) -> "Loop":
        self.due.append((self.now + seconds, callback))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def pass_seconds(self, seconds: float) -> None:
        end = self.now + seconds
        while self.due and self.due[0][0] <= end:
            self.now, callback = self.due.pop(0)
            callback()
        self.now = end


def guard() -> tuple[Loop, StallGuard, list[float]]:
    """A guard of ten seconds, and when it found a stall."""
    loop, stalled = Loop(), []
    made = StallGuard(10, lambda: stalled.append(loop.now), cast(asyncio.AbstractEventLoop, loop))
    return loop, made, stalled


def test_a_slow_reader_is_not_a_stalled_one() -> None:
    """Pieces that each take long, and pauses of the service between them, may last for hours."""
    loop, made, stalled = guard()
    for _ in range(100):
        made.begin()
        loop.pass_seconds(9.9)
        made.end()
        loop.pass_seconds(25)
    assert stalled == []


@pytest.mark.parametrize("before", [0, 3, 9.99, 10, 17])
def test_a_piece_that_nobody_takes_is_found_in_time(before: float) -> None:
    """However long the answer has been going well."""
    loop, made, stalled = guard()
    loop.pass_seconds(before)
    made.begin()
    loop.pass_seconds(100)
    assert stalled == [pytest.approx(100 + before + 10)]
    made.stop()


def test_a_guard_that_is_stopped_finds_nothing() -> None:
    """The answer is over."""
    loop, made, stalled = guard()
    made.begin()
    made.stop()
    loop.pass_seconds(100)
    assert stalled == []


async def test_the_one_who_answers_is_ended_whoever_sends() -> None:
    """A sign of life that nobody takes is sent by a task of its own, while the one that answers waits for the service."""
    sent: list[bytes] = []

    async def send(event: dict[str, Any]) -> None:
        sent.append(event["body"])
        await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    scope = {"method": "GET", "raw_path": b"/", "query_string": b"", "http_version": "1.1"}
    made: list[Exchange] = []

    async def answering() -> None:
        made.append(Exchange(scope, receive, send, RequestHeaders(())))
        await asyncio.Event().wait()

    answers = asyncio.create_task(answering())
    while not made:
        await asyncio.sleep(0)
    exchange = made[0]
    exchange.write_timeout = 0.01
    other = asyncio.create_task(exchange.piece(b"life"))
    await asyncio.wait([answers], timeout=30)
    assert (answers.cancelled(), other.done(), exchange.status) == (True, False, 499)
    await exchange.piece(b"more", last=True)  # returns at once: there is nobody to send to
    assert sent == [b"life"]
    other.cancel()
    exchange.close()
