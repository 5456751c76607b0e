"""A connection that is told to end does so, whatever it is doing and whatever the server does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mesh.messaging import Messaging
from mesh.messaging.client import keep_cancellation

PATIENCE_SECONDS = 5.0
"""What a supervisor may give; an end that is not lost takes milliseconds, one that is lost never comes."""
TURNS = 12
"""Turns of the loop in which an answer of the server is on its way through `asyncio.wait_for`."""
INFO = b'INFO {"server_id":"test","version":"2.12.0","max_payload":1048576}\r\n'


@dataclass(slots=True)
class Greeter:
    """Speaks as much of NATS as a client needs to connect. `said` is called when the answer that `when` names has left."""

    when: str = ""
    said: Callable[[], None] = lambda: None
    hangs: bool = False
    """Whether it falls silent once a client is connected."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from INFO until the client is gone."""
        await self._say(writer, "INFO", INFO)
        pongs = 0
        while line := await reader.readline():
            if line.startswith(b"PING") and not (self.hangs and pongs):
                pongs += 1
                await self._say(writer, "PONG", b"PONG\r\n")
        writer.close()

    async def _say(self, writer: asyncio.StreamWriter, name: str, line: bytes) -> None:
        writer.write(line)
        await writer.drain()
        if name == self.when:
            self.said()


@asynccontextmanager
async def listening(greeter: Greeter) -> AsyncIterator[str]:
    """Its URL."""
    server = await asyncio.start_server(greeter.talk, "127.0.0.1", 0)
    async with server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def ends(task: "asyncio.Task[None]") -> bool:
    """Whether it has ended, cancelled, before patience has."""
    await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    ended = task.cancelled()
    while not task.done():  # one that lost a cancellation takes the next
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    return ended


async def cancelled_after(when: str, turns: int) -> bool:
    """Whether a connection ends that is cancelled so many turns of the loop after an answer has left for it."""
    asked = asyncio.Event()
    async with listening(Greeter(when, asked.set)) as url:
        task = asyncio.get_running_loop().create_task(Messaging("tester", url).run())
        await asked.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        return await ends(task)


async def test_a_connection_that_is_being_made_can_be_cancelled_in_every_turn() -> None:
    """A service that is stopped while it starts would otherwise go on, connected, until it is killed."""
    for when in ("INFO", "PONG"):
        lost = [turns for turns in range(TURNS) if not await cancelled_after(when, turns)]
        assert not lost, f"cancelled {lost} turns after {when} and still running"


async def test_a_server_that_hangs_does_not_keep_a_process_that_stops() -> None:
    """What was acknowledged is there already; the rest lies in an outbox or a spool."""
    async with listening(Greeter(hangs=True)) as url:
        messaging = Messaging("tester", url)
        task = asyncio.get_running_loop().create_task(messaging.run())
        await messaging.wait_connected()
        task.cancel()
        assert await ends(task)


async def test_a_cancellation_that_a_library_keeps_for_itself_is_given_back() -> None:
    """Also when what it says instead is an error, which callers would take for a reason to try again."""

    async def swallow(error: Exception | None) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if error is not None:
                raise error from None

    for error in (None, OSError("lost")):
        task = asyncio.get_running_loop().create_task(keep_cancellation(swallow(error)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
