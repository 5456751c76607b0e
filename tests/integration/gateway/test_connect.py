"""Laws of Connect on the HTTP port, read by hand; and a client that is not ours, for both protocols that browsers speak."""

import asyncio
import base64
import gzip
import json
from typing import Any

import httpx
import pytest
from connectrpc.client import ConnectClient
from connectrpc.code import Code
from connectrpc.codec import proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.rpc import error_details_pb2

from gateway.transcoding.schema import Schema
from tests.integration.gateway.conftest import Running
from tests.integration.gateway.test_grpc_door import SERVICE, fail, thing
from tests.integration.gateway.test_grpc_web import BOMB, opened, sealed
from tests.integration.gateway.test_rest import until
from tests.unit.gateway.support import echo_set

JSON = {"content-type": "application/json", "connect-protocol-version": "1"}
PROTO = {**JSON, "content-type": "application/proto"}
STREAM = {**JSON, "content-type": "application/connect+json"}


async def call(
    client: httpx.AsyncClient, method: str, body: bytes, headers: dict[str, str] = JSON
) -> httpx.Response:
    """POST one message."""
    return await client.post(f"/{SERVICE}/{method}", content=body, headers=headers)


def reason_of(error: Any) -> str:
    """The ErrorInfo reason of an Error object, from the bytes that clients read."""
    detail = error["details"][0]
    assert detail["type"] == "google.rpc.ErrorInfo"
    assert "=" not in detail["value"]
    value = base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
    reason = str(error_details_pb2.ErrorInfo.FromString(value).reason)
    assert detail["debug"]["reason"] == reason
    return reason


async def test_a_call_is_a_plain_post_in_json_or_protobuf(
    client: httpx.AsyncClient, running: Running
) -> None:
    """curl can do it; generated clients do the same in bytes."""
    answer = await call(client, "CheckThing", b'{"big":"7"}', {**JSON, "x-custom": "c"})
    assert (answer.status_code, answer.json()) == (200, {"big": "7"})
    assert answer.headers["content-type"] == "application/json"
    assert running.backend.seen[-1].metadata["x-custom"] == "c"
    answer = await call(client, "CheckThing", thing(running, big=7), PROTO)
    assert (answer.content, answer.headers["content-type"]) == (thing(running, big=7), "application/proto")
    without_version = {"content-type": "application/json; charset=utf-8"}
    assert (await call(client, "CheckThing", b"{}", without_version)).json() == {}


async def test_trailing_metadata_are_headers(client: httpx.AsyncClient) -> None:
    """There are no HTTP trailers in Connect."""
    answer = await call(client, "ShowThing", b"{}")
    assert (answer.headers["x-init"], answer.headers["x-bytes-bin"]) == ("i", "AAE")
    assert answer.headers["trailer-x-trail"] == "t"
    assert answer.json()["text"] == "plain"  # response_body is REST's; here it is the message


async def test_requests_may_be_gzip(client: httpx.AsyncClient) -> None:
    """Some clients compress without being asked; what is packed small must not grow past the limit."""
    packed = {**JSON, "content-encoding": "gzip"}
    assert (await call(client, "CheckThing", gzip.compress(b'{"big":"7"}'), packed)).json() == {"big": "7"}
    for body, code in ((BOMB, "resource_exhausted"), (b"{}", "invalid_argument")):
        assert (await call(client, "CheckThing", body, packed)).json()["code"] == code
    refused = await call(client, "CheckThing", b"{}", {**JSON, "content-encoding": "br"})
    assert (refused.status_code, refused.json()["code"]) == (501, "unimplemented")
    assert refused.json()["message"] == "supported encodings are identity, gzip, zstd"


async def test_a_services_error_has_code_status_and_details(
    client: httpx.AsyncClient, running: Running
) -> None:
    """The name of the code, HTTP's status for it, and details in bytes."""
    answer = await call(client, "Fail", b'{"code":5,"with":"info"}')
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert (answer.json()["code"], answer.json()["message"]) == ("not_found", "as asked")
    assert reason_of(answer.json()) == "BOT_NOT_FOUND"
    answer = await call(client, "Fail", fail(running, 1, ""), PROTO)
    assert (answer.status_code, answer.json()) == (499, {"code": "canceled", "message": "as asked"})


async def test_what_changes_nothing_may_be_asked_by_get(client: httpx.AsyncClient, running: Running) -> None:
    """In JSON, in protobuf, in either base64; other parameters are let be, as the protocol says."""
    path = f"/{SERVICE}/GetThing"
    sent = {"connect": "v1", "encoding": "json", "message": '{"id":"ä b"}', "tracking": "1"}
    assert (await client.get(path, params=sent)).json() == {"id": "ä b"}
    wire = running.backend.type("vivesphere.echo.v1.ThingRequest")(id="~" * 5).SerializeToString()
    for text in (base64.urlsafe_b64encode(wire), base64.urlsafe_b64encode(wire).rstrip(b"=")):
        sent = {"encoding": "proto", "base64": "1", "message": text.decode()}
        answer = await client.get(path, params=sent)
        assert (answer.content, answer.headers["content-type"]) == (wire, "application/proto")
    refused = await client.get(f"/{SERVICE}/CheckThing", params={"encoding": "json", "message": "{}"})
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("encoding=json", 400),
        ("message={}", 415),
        ("encoding=thrift&message={}", 415),
        ("encoding=json&message={}&message={}", 400),
        ("encoding=json&message={}&connect=v2", 400),
        ("encoding=json&message=***&base64=1", 400),
        ("encoding=json&message=%ff", 400),
        ("encoding=json&message={}&compression=br", 501),
    ],
)
async def test_a_get_that_is_wrong_is_told_so(
    client: httpx.AsyncClient, running: Running, query: str, status: int
) -> None:
    """Never a 5xx that is not meant, never a call."""
    answer = await client.get(f"/{SERVICE}/GetThing?{query}")
    assert answer.status_code == status
    assert running.backend.seen == []


async def test_a_stream_is_envelopes_and_ends_with_one_of_its_own(client: httpx.AsyncClient) -> None:
    """How it ended is in the last, in JSON, with HTTP 200 throughout."""
    answer = await call(client, "Count", sealed(b'{"after":2}'), STREAM)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/connect+json")
    assert list(opened(answer.content)) == [(0, b"{}"), (0, b'{"big":"1"}'), (2, b"{}")]
    packed = {**STREAM, "connect-content-encoding": "gzip"}
    answer = await call(client, "Count", sealed(gzip.compress(b'{"after":1}'), 1), packed)
    assert list(opened(answer.content)) == [(0, b"{}"), (2, b"{}")]
    answer = await call(client, "FailStream", sealed(b'{"after":1,"code":5,"with":"info"}'), STREAM)
    first, (flags, last) = opened(answer.content)
    assert (first, flags) == ((0, b"{}"), 2)
    assert json.loads(last)["error"]["code"] == "not_found"
    assert reason_of(json.loads(last)["error"]) == "BOT_NOT_FOUND"


async def test_a_stream_that_is_refused_is_a_stream(client: httpx.AsyncClient, running: Running) -> None:
    """A client that reads envelopes gets its refusal in one."""
    for body, method, code in (
        (sealed(b'{"nope":2}'), "Count", "invalid_argument"),
        (b"", "Count", "invalid_argument"),
        (sealed(b"{}"), "Chat", "unimplemented"),
    ):
        answer = await call(client, method, body, STREAM)
        ((flags, last),) = opened(answer.content)
        assert (answer.status_code, flags, json.loads(last)["error"]["code"]) == (200, 2, code)
    assert running.backend.seen == []


@pytest.mark.parametrize(
    ("method", "body", "headers", "status", "code", "reason"),
    [
        ("CheckThing", b"{", {}, 400, "invalid_argument", "MALFORMED_REQUEST"),
        ("CheckThing", b"[]", {}, 400, "invalid_argument", "MALFORMED_REQUEST"),
        ("CheckThing", b'{"nope":1}', {}, 400, "invalid_argument", "UNKNOWN_FIELD"),
        ("CheckThing", b'{"big":1,"big":2}', {}, 400, "invalid_argument", "MALFORMED_REQUEST"),
        ("CheckThing", b"\x0a\x02\xff\xfe", {"content-type": "application/proto"}, 400, "invalid_argument", "MALFORMED_REQUEST"),
        ("CheckThing", b"\xfb\x3f" * 101, {"content-type": "application/proto"}, 400, "invalid_argument", "MALFORMED_REQUEST"),
        ("CheckThing", b"{}", {"connect-protocol-version": "2"}, 400, "invalid_argument", "MALFORMED_REQUEST"),
        ("CheckThing", b"{}", {"connect-timeout-ms": "soon"}, 400, "invalid_argument", "MALFORMED_REQUEST"),
        ("CheckThing", b"x" * 1_000_001, {}, 429, "resource_exhausted", "MESSAGE_TOO_LARGE"),
        ("Nothing", b"{}", {}, 501, "unimplemented", "ROUTE_NOT_FOUND"),
        ("Sleep", b'{"seconds":20}', {"connect-timeout-ms": "100"}, 504, "deadline_exceeded", "DEADLINE_TOO_SHORT"),
    ],
)  # fmt: skip
async def test_the_gateways_refusals_are_errors_of_connect(
    client: httpx.AsyncClient,
    method: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
    reason: str,
) -> None:
    """The strict codec's words, in the client's protocol."""
    answer = await call(client, method, body, {**JSON, **headers})
    assert (answer.status_code, answer.json()["code"], reason_of(answer.json())) == (status, code, reason)


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("CheckThing", "application/connect+json"),
        ("Count", "application/json"),
        ("CheckThing", "application/thrift"),
        ("CheckThing", "application/x-www-form-urlencoded"),
        ("CheckThing", ""),
    ],
)
async def test_a_kind_of_content_that_does_not_fit_the_method_is_415(
    client: httpx.AsyncClient, method: str, kind: str
) -> None:
    """A client that knows nothing of streams must not take one that failed for an answer."""
    answer = await call(client, method, sealed(b"{}"), {"content-type": kind} if kind else {})
    assert answer.status_code == 415
    assert "application/connect+proto" in answer.headers["accept-post"]


async def test_a_client_that_goes_away_cancels_the_call(client: httpx.AsyncClient, running: Running) -> None:
    """Nobody reads the answer."""
    waiting = asyncio.create_task(client.post(f"/{SERVICE}/Sleep", content=b'{"seconds":20}', headers=JSON))
    await until(lambda: running.backend.seen)
    waiting.cancel()
    await until(lambda: running.backend.seen[-1].cancelled)


async def test_options_tells_how_a_method_is_called(client: httpx.AsyncClient) -> None:
    """As everywhere."""
    answer = await client.options(f"/{SERVICE}/GetThing")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, POST")


async def test_calls_are_counted_by_how_they_ended(client: httpx.AsyncClient) -> None:
    """HTTP's status tells nothing where it is always 200; a label a path would grow without bound."""
    await call(client, "Fail", b'{"code":6}')
    await call(client, "made-up", b"{}")
    text = (await client.get("/metrics")).text
    assert f'gateway_grpc_relayed_total{{code="ALREADY_EXISTS",method="/{SERVICE}/Fail"}}' in text
    assert f'route="/{SERVICE}/Fail",status="409"' in text
    assert "made-up" not in text


@pytest.mark.parametrize("codec", [proto_binary_codec(), proto_json_codec()], ids=["proto", "json"])
@pytest.mark.parametrize("protocol", [ProtocolType.CONNECT, ProtocolType.GRPC_WEB], ids=["connect", "web"])
async def test_a_client_of_others_is_served(running: Running, protocol: ProtocolType, codec: Any) -> None:
    """What we read into the protocols is what their authors meant: unary, GET, stream, errors with details."""
    methods = Schema(echo_set()).methods

    def method(name: str) -> MethodInfo[Any, Any]:
        found = methods[f"/{SERVICE}/{name}"]
        return MethodInfo(
            name=name,
            service_name=SERVICE,
            input=found.input.type,
            output=found.output.type,
            idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS if name == "GetThing" else IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.UNARY if found.kind == "unary" else StreamType.SERVER_STREAM,
        )  # fmt: skip

    get, check, count = method("GetThing"), method("CheckThing"), method("Count")
    async with ConnectClient(running.url, protocol=protocol, codec=codec, timeout_ms=10_000) as client:
        sent = check.input(id="ä", big=7, data=b"\x00\xff")
        assert await client.execute_unary(request=sent, method=check) == sent
        if protocol is ProtocolType.CONNECT:
            wanted = get.input(id="1")
            assert await client.execute_unary(request=wanted, method=get, use_get=True) == wanted
        stream = client.execute_server_stream(request=count.input(after=3), method=count)
        assert [item.big async for item in stream] == [0, 1, 2]
        request = method("Fail").input.from_binary(fail(running, 5, "info"))
        for waiting in (
            client.execute_unary(request=request, method=method("Fail")),
            anext(client.execute_server_stream(request=request, method=method("FailStream"))),
        ):
            with pytest.raises(ConnectError) as caught:
                await waiting
            assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, "as asked")
            assert caught.value.details[0].type_name == "google.rpc.ErrorInfo"
            assert b"BOT_NOT_FOUND" in caught.value.details[0].message_bytes
