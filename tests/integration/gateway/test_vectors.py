"""Replays the shared transcoding vectors where they are present (VIVESPHERE_TRANSCODING_VECTORS names the folder).

Templates and the probes on which grpc-gateway and Envoy agree are replayed; each deliberate difference is listed with its
reason, and nothing else may differ.
"""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from gateway.backends import single_backend
from gateway.http import HttpDoor, HttpServer
from gateway.metrics import Metrics
from gateway.pages import Pages
from gateway.readiness import Readiness
from gateway.relay import RestRelay
from gateway.settings import Limits
from gateway.transcoding.schema import Schema
from gateway.transcoding.template import TemplateError, parse
from gateway.transcoding.transcoder import Transcoder
from tests.integration.gateway.backend import ScriptedBackend, abort
from tests.integration.gateway.conftest import free_port, start_backend, wait_for_port
from tests.unit.gateway.support import compile_set

VECTORS = Path(os.environ.get("VIVESPHERE_TRANSCODING_VECTORS", "/nonexistent"))
pytestmark = pytest.mark.skipif(
    not (VECTORS / "golden_probes.json").is_file(), reason="VIVESPHERE_TRANSCODING_VECTORS names no folder"
)

TEMPLATES_DIFFER = {
    "tmpl-201": "a variable bound twice would let two parts of one path disagree",
    "tmpl-246": "* and : are no literal characters in the grammar of http.proto",
}
_OWN_PAGE = "/healthz is the gateway's own page"
_EDGE = "the client's mistake is 400, never 500"
_PLAIN = "one spelling of a value: decimal integers, true and false"
_JSON_FORM = "well-known types take their ProtoJSON form only"
_LATER = "client streams over REST come later"
PROBES_DIFFER = {
    "route/healthz_missing": _OWN_PAGE,
    "decode_single/bad_utf8": _EDGE,
    "path_int32/plus": _PLAIN,
    "path_bool/zero": _PLAIN,
    "path_bool/title": _PLAIN,
    "query/bool_1": _PLAIN,
    "path_enum/unknown_number": "an enum is open in proto3, as in a JSON body",
    "query/enum_unknown_number": "an enum is open in proto3, as in a JSON body",
    "query/only_eq": "a parameter without a name is unknown like any other",
    "query/duration_fields": _JSON_FORM,
    "query/field_mask_paths": _JSON_FORM,
    "query/w_value_path": _JSON_FORM,
    "body/path_wins_star": "path and body must agree",
    "body/ct_xml": "415 says more than 400",
    "body/ct_grpcweb": "415 for what is not JSON",
    "stream/client_bad_second_nd": _LATER,
    "stream/client_trailing": _LATER,
    "stream/client_not_array_scalar": _LATER,
}


def cases(name: str) -> list[Any]:
    """The cases of one file."""
    found: list[Any] = json.loads((VECTORS / name).read_text(encoding="utf-8"))["cases"]
    return found


def test_templates_are_judged_as_recommended() -> None:
    """150 templates from the suites of four implementations."""
    differing = set()
    for case in cases("path_templates.json"):
        try:
            parsed = parse(case["template"])
        except TemplateError:
            agrees = not case["recommended_valid"]
        else:
            same = case.get("cpp_segments") in (None, list(parsed.segments))
            agrees = case["recommended_valid"] and same
        if not agrees:
            differing.add(case["id"])
    assert differing == set(TEMPLATES_DIFFER)


def probe_behaviours(backend: ScriptedBackend) -> dict[str, Any]:
    """What the scripted backend of the vectors does apart from echoing."""
    sub, empty = backend.type("probe.v1.Sub"), backend.type("google.protobuf.Empty")
    body = backend.type("google.api.HttpBody")

    async def nothing(request: Any, context: Any) -> Any:
        return empty()

    async def fail(request: Any, context: Any) -> Any:
        if 0 < request.code <= 16:
            await abort(context, request.code, request.message)
        return empty()

    async def fail_stream(request: Any, context: Any) -> Any:
        if request.message != "first":
            yield sub(number=0)
        await fail(request, context)

    async def stream(request: Any, context: Any) -> Any:
        for number in range(request.code):
            yield sub(number=number)

    async def raw(request: Any, context: Any) -> Any:
        return body(content_type="text/html", data=b"x")

    async def raw_stream(request: Any, context: Any) -> Any:
        yield body(content_type="text/html", data=b"x")

    return {
        "Fail": fail, "FailStream": fail_stream, "Meta": nothing, "Slow": nothing, "DeleteItem": nothing, "HeadItem": nothing,
        "ServerStream": stream, "RawDownload": raw, "RawDownloadStream": raw_stream,
    }  # fmt: skip


async def test_probes_on_which_the_others_agree_are_answered_alike() -> None:
    """Routing, HTTP status and the request that the backend saw; the bodies are not part of the agreement."""
    raw = compile_set(VECTORS / "protos" / "probe" / "v1", "probe.proto")
    backend = ScriptedBackend(raw)
    backend.behaviours |= probe_behaviours(backend)
    server, backend_port = await start_backend(backend)
    schema, limits, metrics = Schema(raw), Limits(drain_seconds=0.1), Metrics()
    backends = single_backend(f"127.0.0.1:{backend_port}", limits, schema)
    pages = Pages(Readiness(backends), metrics, None)
    port = free_port()
    http_server = HttpServer(
        HttpDoor(RestRelay(Transcoder(schema), backends, limits), pages, metrics, limits),
        "127.0.0.1",
        port,
        limits,
    )
    http_server.start()
    await wait_for_port(port)
    differing = {}
    replayed = 0
    for case in cases("golden_probes.json"):
        if case["agreement"] != "all":
            continue
        replayed += 1
        backend.seen.clear()
        status, answer = await send(port, case)
        difference = compare(case["consensus"], status, answer, backend)
        if difference:
            differing[case["id"]] = difference
    await http_server.stop()
    await backends.close()
    await server.stop(0)
    print(f"\n{replayed - len(differing)} of {replayed} agreed probes alike")
    unexpected = {name: what for name, what in differing.items() if name not in PROBES_DIFFER}
    assert not unexpected, "\n".join(f"{name}: {what}" for name, what in unexpected.items())
    assert set(differing) == set(PROBES_DIFFER)


async def send(port: int, case: Any) -> tuple[int, str]:
    """Send a probe byte for byte, as no client library would; returns status and the rest of the answer."""
    body = case.get("body") or ""
    payload = base64.b64decode(body["base64"]) if isinstance(body, dict) else body.encode()
    headers = [*(case.get("headers") or []), ["Host", "probe.test"], ["Connection", "close"]]
    if payload and not any(name.lower() == "transfer-encoding" for name, _ in headers):
        headers.append(["Content-Length", str(len(payload))])
    head = f"{case['method']} {case['path']} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode("latin-1") + b"\r\n" + payload)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ", 2)[1]), answer.decode("latin-1")


def compare(consensus: Any, status: int, answer: str, backend: ScriptedBackend) -> str:
    """What differs; empty when nothing does."""
    if status != consensus["http_status"]:
        return f"{status} for {consensus['http_status']}: {answer[-300:]}"
    wanted = [(call["method"], call["requests"]) for call in consensus.get("grpc", [])]
    got = [
        (
            seen.method,
            [
                json_format.MessageToDict(one, preserving_proto_field_name=True, descriptor_pool=backend.pool)
                for one in seen.requests
            ],
        )
        for seen in backend.seen
    ]
    return "" if got == wanted else f"backend saw {got} for {wanted}"
