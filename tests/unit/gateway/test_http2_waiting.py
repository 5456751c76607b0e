"""Calls that wait for their turn or for a connection wait for nothing else."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

import grpc

from gateway.http2 import wire
from gateway.http2.calls import UnaryCall
from gateway.http2.channel import Channel, Target, look_up_addresses
from gateway.http2.connection import Connection
from tests.unit.gateway.test_http2_connection import Transport

LIMIT = 1024
ROOM = 2
WAITING = 1000
PING = wire.frame(wire.PING, 0, 0, b"vivesphr")


def connected(transport: Transport, keepalive_seconds: float = 60) -> Connection:
    """To a peer that takes few calls at once."""
    connection = Connection(LIMIT, lambda _: None, keepalive_seconds)
    connection.connection_made(transport)
    connection.data_received(wire.settings(((wire.MAX_CONCURRENT_STREAMS, ROOM),)))
    return connection


def calls(connection: Connection, count: int) -> list[UnaryCall]:
    return [connection.call(b"\x83", b"", 60) for _ in range(count)]


def steps(work: Callable[[], None]) -> int:
    """How many functions and generators Python enters for it."""
    count = 0

    def entered(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(entered)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def connecting(channel: Channel) -> list[object]:
    """The attempts of this channel that are under way."""
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    return [
        one
        for one in coroutines
        if one.__qualname__ == "Channel._connect" and one.cr_frame.f_locals["self"] is channel  # type: ignore[union-attr]
    ]


async def test_leaving_the_line_costs_the_same_however_long_it_is() -> None:
    """Ten thousand clients that go at once must not stop the gateway for seconds."""
    connection = connected(Transport())
    line = calls(connection, ROOM + WAITING)[ROOM:]
    taken = steps(lambda: [call.cancel() for call in reversed(line)] and None)
    assert taken < 50 * WAITING
    connection.close()


async def test_who_has_left_the_line_is_not_called_and_the_others_keep_their_order() -> None:
    """A call that nobody waits for would be work for the service."""
    transport = Transport()
    connection = connected(transport)
    running, left, first, second = (*calls(connection, ROOM)[:1], *calls(connection, 3))
    left.cancel()
    running.cancel()
    assert (first.stream, second.stream) == (2 * ROOM + 1, 0)
    connection.close()
    for call in (first, second):
        with suppress(grpc.aio.AioRpcError):
            await call


async def test_an_address_that_answers_is_used_while_another_one_does_not() -> None:
    """One replica that hangs would make every call wait for as long as connecting may take."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.settings(()))
        await reader.read()
        writer.close()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_server(greet, "127.0.0.1", 0) as one,
        await asyncio.start_server(say_nothing, "127.0.0.1", 0) as other,
    ):

        async def look_up(host: str, port: int) -> list[tuple[str, int]]:
            return [("127.0.0.1", server.sockets[0].getsockname()[1]) for server in (one, other)]

        channel = Channel(Target("replicas", 1, LIMIT), look_up)
        assert await channel.wait(30) is not None
        assert len(connecting(channel)) == 1  # the other address still has its time
        await channel.close()


async def test_a_peer_that_speaks_is_not_left_for_a_ping_that_it_has_not_come_to() -> None:
    """Its answer to the ping may lie behind much else."""
    transport = Transport()
    connection = connected(transport, keepalive_seconds=0.05)
    [call] = calls(connection, 1)

    async def pinged(times: int) -> None:
        while connection.usable and transport.written.count(PING) < times:
            await asyncio.sleep(0.001)

    async with asyncio.timeout(30):
        await pinged(1)
        connection.data_received(wire.window_update(0, 1))
        await pinged(2)
    assert connection.usable
    connection.close()
    with suppress(grpc.aio.AioRpcError):
        await call


async def test_what_cannot_be_a_name_has_no_address() -> None:
    """An error that nobody expects would end the keeper of connections for good."""
    assert await look_up_addresses("a..b", 1) == []
