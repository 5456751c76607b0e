"""Laws of gRPC-Web on the HTTP port, byte by byte: the protocol is read here by hand, so that no client's leniency hides a fault."""

import asyncio
import base64
import gzip
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import unquote

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.integration.gateway.conftest import Running
from tests.integration.gateway.test_grpc_door import SERVICE, fail, thing
from tests.integration.gateway.test_rest import until

BOMB = gzip.compress(bytes(50_000_000))
BINARY = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
TEXT = {"content-type": "application/grpc-web-text", "accept": "application/grpc-web-text"}


def sealed(message: bytes, flags: int = 0) -> bytes:
    """A message in its envelope."""
    return bytes([flags]) + len(message).to_bytes(4, "big") + message


def opened(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The envelopes of a body: flags and message."""
    while body:
        size = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + size
        yield body[0], body[5 : 5 + size]
        body = body[5 + size :]


def untext(text: bytes) -> bytes:
    """Base64 with padding in mid-stream."""
    return b"".join(map(base64.b64decode, re.findall(rb"[^=]+=*", text)))


def trailers(block: bytes) -> dict[str, str]:
    """The lines of a trailers envelope."""
    assert block.endswith(b"\r\n")
    return dict(line.split(": ", 1) for line in block.decode().splitlines())


def parts(answer: httpx.Response) -> tuple[list[bytes], dict[str, str]]:
    """Messages and trailers of an answer; trailers stand in the last envelope, or among the headers."""
    assert answer.status_code == 200
    content = answer.content
    if "-text" in answer.headers["content-type"]:
        content = untext(content)
    found = list(opened(content))
    if "grpc-status" in answer.headers:
        assert not found
        return [], dict(answer.headers)
    assert [flags for flags, _ in found] == [0] * (len(found) - 1) + [0x80]
    return [message for _, message in found[:-1]], trailers(found[-1][1])


def status_of(told: dict[str, str]) -> tuple[int, str]:
    """Code and message."""
    return int(told["grpc-status"]), unquote(told.get("grpc-message", ""))


def details_of(told: dict[str, str]) -> status_pb2.Status:
    """The status with its details."""
    text = told["grpc-status-details-bin"]
    return status_pb2.Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))


def reason_of(told: dict[str, str]) -> str:
    """The ErrorInfo reason of a status."""
    info = error_details_pb2.ErrorInfo()
    assert details_of(told).details[0].Unpack(info)
    return str(info.reason)


async def call(
    client: httpx.AsyncClient, method: str, message: bytes, headers: dict[str, str] = BINARY
) -> httpx.Response:
    """POST one message."""
    return await client.post(f"/{SERVICE}/{method}", content=sealed(message), headers=headers)


async def test_a_unary_call_passes_bytes_and_metadata(client: httpx.AsyncClient, running: Running) -> None:
    """Fields that the gateway's contract does not know survive, and the service sees who calls."""
    unknown = thing(running, big=7) + b"\xfa\x3f\x03new"
    sent = {
        **BINARY,
        "authorization": "Bearer t",
        "x-custom": "c",
        "x-data-bin": "AP8",
        "x-forwarded-for": "6.6.6.6",
    }
    answer = await call(client, "CheckThing", unknown, sent)
    messages, told = parts(answer)
    assert (messages, told) == ([unknown], {"grpc-status": "0"})
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    seen = running.backend.seen[-1].metadata
    assert (seen["authorization"], seen["x-custom"], seen["x-data-bin"]) == ("Bearer t", "c", b"\x00\xff")
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-request-id"] == answer.headers["x-request-id"]
    for name in ("accept", "accept-encoding", "content-type", "host", "x-grpc-web"):
        assert seen.get(name) in (None, "application/grpc")


async def test_metadata_of_the_service_stay_where_it_put_them(client: httpx.AsyncClient) -> None:
    """Initial metadata are headers, trailing ones trailers, under their own names."""
    answer = await call(client, "ShowThing", b"")
    _, told = parts(answer)
    assert (answer.headers["x-init"], answer.headers["x-bytes-bin"]) == ("i", "AAE")
    assert told == {"grpc-status": "0", "x-trail": "t"}


async def test_text_is_base64_with_padding_anywhere(client: httpx.AsyncClient, running: Running) -> None:
    """Old browsers read text only; a message may end within a padded run, and begin in the next."""
    body = sealed(thing(running, big=7))
    pieces = base64.b64encode(body[:4]) + base64.b64encode(body[4:])
    assert b"=" in pieces[:-4]
    answer = await client.post(f"/{SERVICE}/CheckThing", content=pieces, headers=TEXT)
    assert answer.headers["content-type"] == "application/grpc-web-text+proto"
    assert parts(answer) == ([thing(running, big=7)], {"grpc-status": "0"})
    answer = await client.post(f"/{SERVICE}/CheckThing", content=b"AAA*", headers=TEXT)
    assert status_of(parts(answer)[1]) == (3, "the body is not base64")


async def test_a_stream_comes_message_by_message(client: httpx.AsyncClient, running: Running) -> None:
    """Binary and text alike end with the trailers."""
    expected = [thing(running, big=number) for number in range(3)]
    request = fail(running, 0, "", after=3)
    assert parts(await call(client, "Count", request)) == (expected, {"grpc-status": "0"})
    text = base64.b64encode(sealed(request))
    answer = await client.post(f"/{SERVICE}/Count", content=text, headers=TEXT)
    assert parts(answer) == (expected, {"grpc-status": "0"})


async def test_items_are_sent_as_they_come_and_leaving_cancels(
    client: httpx.AsyncClient, running: Running
) -> None:
    """A watch is of no use when it waits for a full buffer, and of no use to nobody."""
    body = sealed(fail(running, 0, "", after=100_000))
    async with client.stream("POST", f"/{SERVICE}/Count", content=body, headers=BINARY) as answer:
        first = await anext(answer.aiter_raw())
        assert first[:5] == sealed(thing(running))[:5]
    await until(lambda: running.backend.seen[-1].cancelled)


async def test_a_client_that_goes_away_cancels_a_unary_call(
    client: httpx.AsyncClient, running: Running
) -> None:
    """Nobody reads the answer."""
    waiting = asyncio.create_task(
        client.post(f"/{SERVICE}/Sleep", content=sealed(b"\x08\x14"), headers=BINARY)
    )
    await until(lambda: running.backend.seen)
    waiting.cancel()
    await until(lambda: running.backend.seen[-1].cancelled)


@pytest.mark.parametrize("method", ["Fail", "FailStream"])
async def test_a_services_error_keeps_its_details(
    client: httpx.AsyncClient, running: Running, method: str
) -> None:
    """Reasons are what clients act on; HTTP says 200 whatever happened."""
    messages, told = parts(await call(client, method, fail(running, 5, "info")))
    assert (messages, status_of(told)) == ([], (5, "as asked"))
    assert reason_of(told) == "BOT_NOT_FOUND"


async def test_items_before_a_failure_arrive(client: httpx.AsyncClient, running: Running) -> None:
    """A stream that breaks has still said what it said, and that it broke."""
    messages, told = parts(await call(client, "FailStream", fail(running, 14, "", after=2)))
    assert messages == [thing(running), thing(running, big=1)]
    assert status_of(told) == (14, "as asked")


async def test_a_long_status_does_not_burst_a_proxys_header_buffer(
    client: httpx.AsyncClient, running: Running
) -> None:
    """Trailers go among the headers only while they are small."""

    async def refuse(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.ABORTED, request.note.value * 3000 + "%\nä")

    running.backend.behaviours["CheckThing"] = refuse
    try:
        note = running.backend.type("vivesphere.echo.v1.Thing")(note={"value": "x"})
        long = await call(client, "CheckThing", note.SerializeToString())
        short = await call(client, "CheckThing", b"")
    finally:
        del running.backend.behaviours["CheckThing"]
    assert "grpc-status" not in long.headers
    assert status_of(parts(long)[1]) == (10, "x" * 3000 + "%\nä")
    assert (short.headers["grpc-status"], short.content) == ("10", b"")
    assert status_of(parts(short)[1]) == (10, "%\nä")


async def test_a_deadline_is_kept_and_passed_on(client: httpx.AsyncClient, running: Running) -> None:
    """The client's patience ends the work, with a reason."""
    _, told = parts(await call(client, "Sleep", b"\x08\x14", {**BINARY, "grpc-timeout": "100m"}))
    assert (status_of(told)[0], reason_of(told)) == (4, "DEADLINE_TOO_SHORT")
    remaining = running.backend.seen[-1].remaining
    assert remaining is not None
    assert remaining < 0.2


@pytest.mark.parametrize(
    ("path", "body", "headers", "code", "reason"),
    [
        (f"/{SERVICE}/Nothing", sealed(b""), {}, 12, "ROUTE_NOT_FOUND"),
        ("/nobody.v1.Service/Call", sealed(b""), {}, 12, "ROUTE_NOT_FOUND"),
        (f"/{SERVICE}/Collect", sealed(b""), {}, 12, "NOT_IMPLEMENTED"),
        (f"/{SERVICE}/Chat", sealed(b""), {}, 12, "NOT_IMPLEMENTED"),
        (f"/{SERVICE}/CheckThing", b"", {}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b"")[:4], {}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b"ab")[:6], {}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b"") * 2, {}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b"", 0x80), {}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b"", 0x01), {}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b"\x0a\x02\xff\xfe"), {}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b""), {"grpc-encoding": "br"}, 12, "NOT_IMPLEMENTED"),
        (f"/{SERVICE}/CheckThing", sealed(b"x", 0x01), {"grpc-encoding": "gzip"}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(BOMB, 0x01), {"grpc-encoding": "gzip"}, 8, "MESSAGE_TOO_LARGE"),
        (f"/{SERVICE}/CheckThing", sealed(b""), {"grpc-timeout": "soon"}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b""), {"x-data-bin": "*"}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b""), {"x-long": "x" * 6001}, 3, "MALFORMED_REQUEST"),
        (f"/{SERVICE}/CheckThing", sealed(b"x" * 1_000_001), {}, 8, "MESSAGE_TOO_LARGE"),
        ("/vivesphere.missing.v1.Service/Call", sealed(b""), {}, 12, "ROUTE_NOT_FOUND"),
    ],
)  # fmt: skip
async def test_the_gateways_refusals_are_statuses(
    client: httpx.AsyncClient,
    running: Running,
    path: str,
    body: bytes,
    headers: dict[str, str],
    code: int,
    reason: str,
) -> None:
    """Same shape as a service's errors, and nothing reaches a service."""
    answer = await client.post(path, content=body, headers={**BINARY, **headers})
    _, told = parts(answer)
    assert (status_of(told)[0], reason_of(told)) == (code, reason)
    assert details_of(told).code == code
    assert running.backend.seen == []


async def test_the_largest_message_passes(client: httpx.AsyncClient, running: Running) -> None:
    """The limit is on the message, not on what the protocol adds, in text as well."""
    overhead = len(thing(running, data=b"x" * 900_000)) - 900_000
    largest = thing(running, data=b"x" * (1_000_000 - overhead))
    assert len(largest) == 1_000_000
    assert parts(await call(client, "CheckThing", largest))[0] == [largest]
    text = base64.b64encode(sealed(largest))
    answer = await client.post(f"/{SERVICE}/CheckThing", content=text, headers=TEXT)
    assert parts(answer)[0] == [largest]


async def test_messages_may_be_json(client: httpx.AsyncClient) -> None:
    """A client without generated code, and the same strictness as over REST."""
    headers = {"content-type": "application/grpc-web+json"}
    messages, told = parts(await call(client, "CheckThing", b'{"big":"7"}', headers))
    assert (messages, told["grpc-status"]) == ([b'{"big":"7"}'], "0")
    _, told = parts(await call(client, "CheckThing", b'{"nope":7}', headers))
    assert (status_of(told)[0], reason_of(told)) == (3, "UNKNOWN_FIELD")


@pytest.mark.parametrize("kind", ["application/grpc-web+thrift", "application/grpc-webx", "application/grpc"])
async def test_what_is_not_spoken_is_415(client: httpx.AsyncClient, kind: str) -> None:
    """gRPC itself needs HTTP trailers, which this port has not."""
    answer = await call(client, "CheckThing", b"", {"content-type": kind})
    assert answer.status_code == 415
    assert "application/grpc-web+proto" in answer.headers["accept-post"]


async def test_open_streams_end_with_a_status_when_the_gateway_stops(
    client: httpx.AsyncClient, running: Running
) -> None:
    """A client that is told UNAVAILABLE connects again; one that is cut off wonders."""
    waiting = asyncio.create_task(call(client, "Count", fail(running, 0, "", after=100_000)))
    await until(lambda: running.backend.seen)
    await until(lambda: running.procedures.open_streams)
    running.procedures.end_streams()
    _, told = parts(await waiting)
    assert (status_of(told)[0], reason_of(told)) == (14, "SHUTTING_DOWN")


async def test_a_stream_that_has_nothing_to_say_yet_is_open(
    client: httpx.AsyncClient, running: Running
) -> None:
    """A watch may wait for hours; its client must know that it stands."""
    speak = asyncio.Event()

    async def late(request: Any, context: Any) -> AsyncIterator[Any]:
        await speak.wait()
        yield running.backend.type("vivesphere.echo.v1.Thing")(big=7)

    before = running.backend.behaviours["Count"]
    running.backend.behaviours["Count"] = late
    try:
        async with client.stream("POST", f"/{SERVICE}/Count", content=sealed(b""), headers=BINARY) as answer:
            assert answer.status_code == 200
            speak.set()
            content = await answer.aread()
    finally:
        running.backend.behaviours["Count"] = before
    assert next(opened(content)) == (0, thing(running, big=7))
