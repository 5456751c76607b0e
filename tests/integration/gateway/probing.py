"""A gateway before a scripted backend for any descriptor set, and requests sent byte for byte, as no client library would."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from google.rpc import error_details_pb2

from gateway.backends import single_backend
from gateway.http import HttpDoor
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.protocols.door import procedure_door
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.server import HttpServer
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.backend import ScriptedBackend, abort
from tests.integration.gateway.conftest import free_port, start_backend, wait_for_port


@dataclass
class Front:
    """A started gateway and the backend behind it."""

    port: int
    backend_port: int
    backend: ScriptedBackend


@dataclass
class Answer:
    """An HTTP answer as it came. Header names are lower case; of several lines the last."""

    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def front(
    raw: bytes,
    transcoder: Transcoder | None = None,
    limits: Limits | None = None,
    *,
    calls: bool = False,
) -> AsyncIterator[Front]:
    """Serve a descriptor set until the end of the block: REST, with `calls` Connect and gRPC-Web as well."""
    backend = ScriptedBackend(raw)
    server, backend_port = await start_backend(backend)
    schema, metrics = Schema(raw), Metrics()
    limits = limits or Limits(drain_seconds=0.1)
    backends = single_backend(f"127.0.0.1:{backend_port}", limits, schema)
    transcoder = transcoder or Transcoder(schema)
    relay = RestRelay(transcoder, backends, limits)
    port = free_port()
    procedures = procedure_door(transcoder, backends, limits, metrics, browsers=False) if calls else None
    door = HttpDoor(relay, Pages(Readiness(backends), metrics, None), metrics, limits, procedures)
    http_server = HttpServer(door, "127.0.0.1", port, limits)
    http_server.start()
    await wait_for_port(port)
    try:
        yield Front(port, backend_port, backend)
    finally:
        await http_server.stop()
        await backends.close()
        await server.stop(0)


def payload_of(body: Any) -> bytes:
    """The bytes of a case's body: text, {"base64": …} or nothing."""
    return base64.b64decode(body["base64"]) if isinstance(body, dict) else (body or "").encode()


async def send(port: int, case: Any) -> Answer:
    """Send `method`, `path`, `headers` and `body` of a case on a connection of its own."""
    payload = payload_of(case.get("body"))
    headers = [*(case.get("headers") or []), ["Host", "probe.test"], ["Connection", "close"]]
    if payload and not any(name.lower() == "transfer-encoding" for name, _ in headers):
        headers.append(["Content-Length", str(len(payload))])
    head = f"{case['method']} {case['path']} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode("latin-1") + b"\r\n" + payload)
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()
    return parsed(answer)


def parsed(answer: bytes) -> Answer:
    """Take an HTTP/1.1 answer apart, chunks put together."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b"".join(_chunks(body))
    return Answer(int(first.split(" ", 2)[1]), headers, body)


def _chunks(data: bytes) -> list[bytes]:
    found = []
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            break
        found.append(data[:length])
        data = data[length + 2 :]
    return found


def arrived(backend: ScriptedBackend) -> list[tuple[str, list[Any]]]:
    """What the backend saw: method names and requests in ProtoJSON with proto names."""
    return [(seen.method, [as_json(one, backend) for one in seen.requests]) for seen in backend.seen]


def as_json(message: Any, backend: ScriptedBackend) -> Any:
    """A message in ProtoJSON; its bytes where it has no such form."""
    try:
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, descriptor_pool=backend.pool
        )
    except (json_format.Error, ValueError, TypeError):
        return {"base64": base64.b64encode(message.SerializeToString(deterministic=True)).decode()}


def probe_behaviours(backend: ScriptedBackend) -> dict[str, Any]:
    """What the methods of probe.proto do apart from echoing."""
    sub, empty = backend.type("probe.v1.Sub"), backend.type("google.protobuf.Empty")
    body = backend.type("google.api.HttpBody")

    async def nothing(request: Any, context: Any) -> Any:
        return empty()

    async def meta(request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("x-init", "i1"), ("x-bytes-bin", b"\x00\x01")))
        context.set_trailing_metadata((("x-trail", "t1"), ("x-trail-bin", b"\x02")))
        return empty()

    async def slow(request: Any, context: Any) -> Any:
        await asyncio.sleep(min(30, request.seconds + request.nanos / 1e9))
        return empty()

    async def fail(request: Any, context: Any) -> Any:
        details: list[Any] = []
        if request.message == "details":
            bad = error_details_pb2.BadRequest()
            bad.field_violations.add(field="f", description="d")
            details = [bad, error_details_pb2.RequestInfo(request_id="r")]
        if 0 < request.code <= 16:
            await abort(context, request.code, request.message, *details)
        return empty()

    async def fail_stream(request: Any, context: Any) -> Any:
        if request.message != "first":
            yield sub(number=0)
        await fail(request, context)

    async def stream(request: Any, context: Any) -> Any:
        for number in range(min(request.code, 100)):  # requests made at random ask for more
            yield sub(number=number)

    async def raw(request: Any, context: Any) -> Any:
        return body(content_type="text/html", data=b"x")

    async def raw_stream(request: Any, context: Any) -> Any:
        yield body(content_type="text/html", data=b"x")

    return {
        "Fail": fail, "FailStream": fail_stream, "Meta": meta, "Slow": slow, "DeleteItem": nothing, "HeadItem": nothing,
        "ServerStream": stream, "RawDownload": raw, "RawDownloadStream": raw_stream,
    }  # fmt: skip
