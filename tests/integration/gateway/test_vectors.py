"""Replays the shared transcoding vectors that need a running gateway, where they are present (VIVESPHERE_TRANSCODING_VECTORS names the folder).

The golden probes hold what grpc-gateway and Envoy answered to the same requests. Where all agree, so must this gateway; where they do
not, it must answer as one of them. Every other answer is in `tests.vectors.decisions` with its reason. Client streams are left to the
tests of streams.
"""

import json
import re
from typing import Any

import pytest
from google.protobuf import text_format

from gateway.settings import Limits
from tests.integration.gateway.backend import abort
from tests.integration.gateway.probing import Answer, Front, arrived, front, probe_behaviours, send
from tests.unit.gateway.support import compile_set, compile_text
from tests.vectors.decisions import OUT_OF_SCOPE, REASONS, differences
from tests.vectors.reading import SHARED, shared

pytestmark = pytest.mark.skipif(SHARED is None, reason="VIVESPHERE_TRANSCODING_VECTORS names no folder")
CLIENT_STREAMS = ("stream/client_", "stream/bidi_")


def probe_set() -> bytes:
    assert SHARED is not None
    return compile_set(SHARED / "protos" / "probe" / "v1", "probe.proto")


def told(observed: Any, status: str = "status") -> tuple[Any, Any]:
    """Status and calls of one observation."""
    http = observed.get("http") or {}
    return http.get(status), [(call["method"], call["requests"]) for call in observed.get("grpc", [])]


async def test_probes_are_answered_as_others_do_or_as_decided() -> None:
    """Status and the request that the backend saw; and, where Envoy prints in the same style, the body."""
    differing, bodies = {}, 0
    async with front(probe_set()) as running:
        running.backend.behaviours |= probe_behaviours(running.backend)
        for case in shared("golden_probes.json"):
            if case["id"].startswith(CLIENT_STREAMS):
                continue
            running.backend.seen.clear()
            answer = await send(running.port, case)
            ours = (answer.status, arrived(running.backend))
            if case["agreement"] == "all":
                consensus = {**case["consensus"], "http": {"status": case["consensus"]["http_status"]}}
                accepted = [told(consensus)]
            else:
                accepted = [told(observed) for observed in case["observed"].values()]
            if ours not in accepted:
                differing[case["id"]] = f"{ours} {answer.body[-200:]!r}"
            bodies += same_body(case, answer, ours)
    unexpected = {name: what for name, what in differing.items() if name not in differences("golden_probes")}
    assert not unexpected, "\n".join(f"{name}: {what}" for name, what in unexpected.items())
    assert set(differing) | {"route/healthz"} == set(differences("golden_probes"))
    assert bodies > 100


def same_body(case: Any, answer: Answer, ours: tuple[int, Any]) -> bool:
    """Whether a body was compared with Envoy's default style, which is ProtoJSON's own; fails where they differ."""
    envoy = case["observed"].get("envoy:default")
    if envoy is None or answer.status != 200 or told(envoy) != ours or case["method"] == "HEAD":
        return False
    if answer.headers.get("content-type") != "application/json" or case["path"].startswith(
        ("/v1/resp", "/healthz")
    ):
        return False  # Envoy has no response_body
    assert json.loads(answer.body) == json.loads(envoy["http"]["body"]), case["id"]
    return True


BOOKSTORE_LESS = r"  rpc EchoBody\(.*\n"  # `body: "nested.content"`, which http.proto does not allow


async def test_exchanges_of_envoys_own_tests_end_alike() -> None:
    """What its integration tests assert, in both directions."""
    assert SHARED is not None
    text = (SHARED / "protos" / "bookstore" / "bookstore.proto").read_text(encoding="utf-8")
    differing = {}
    for limit in (8, 4_000_000):
        async with front(
            compile_text(re.sub(BOOKSTORE_LESS, "", text)),
            limits=Limits(max_body_bytes=limit, drain_seconds=0.1),
        ) as running:
            for case in shared("rest_exchanges_envoy.json"):
                if case["options"].get("max_request_body_size", 4_000_000) == limit and (
                    what := await exchanged(running, case)
                ):
                    differing[case["id"]] = what
    unexpected = {
        name: what for name, what in differing.items() if name not in differences("rest_exchanges_envoy")
    }
    assert not unexpected, "\n".join(f"{name}: {what}" for name, what in unexpected.items())
    assert set(differing) == set(differences("rest_exchanges_envoy"))


async def exchanged(running: Front, case: Any) -> str:
    """Send the request of a case before a backend that answers as it says; what differs, or nothing."""
    backend = running.backend
    method = next((one for one in backend.methods.values() if one.name == case["grpc_method"]), None)
    backend.seen.clear()
    if method is not None:
        script(running, method, case)
    answer = await send(running.port, case["request"])
    requests = [one for seen in backend.seen for one in seen.requests]
    wanted = (
        [
            text_format.Parse(text, backend.type(method.input_type.full_name)(), descriptor_pool=backend.pool)
            for text in case["grpc_requests"]
        ]
        if method
        else []
    )
    if answer.status != case["expect"]["status"] or requests != wanted:
        return f"{answer.status} {answer.body[:200]!r} {requests}"
    if answer.status == 200 and case["expect"]["body_match"] == "equal":
        kind = answer.headers["content-type"]
        if kind == "application/json" and json.loads(answer.body) != json.loads(case["expect"]["body"]):
            return f"{answer.body!r}"
        if kind == "text/html" and answer.body.decode() != case["expect"]["body"]:
            return f"{answer.body!r}"
    return ""


def script(running: Front, method: Any, case: Any) -> None:
    """Let a method answer what a case says."""
    backend = running.backend
    replies = [
        text_format.Parse(text, backend.type(method.output_type.full_name)(), descriptor_pool=backend.pool)
        for text in case["grpc_responses"]
    ]
    code, message = case["grpc_status"]

    async def one(request: Any, context: Any) -> Any:
        if code:
            await abort(context, code, message)
        return replies[0] if replies else backend.type(method.output_type.full_name)()

    async def many(request: Any, context: Any) -> Any:
        for reply in replies:
            yield reply
        if code:
            await abort(context, code, message)

    backend.behaviours[method.name] = many if method.server_streaming else one


CONDITIONS = {
    "cond-no_route": {"method": "GET", "path": "/nowhere"},
    "cond-malformed_percent_escape_in_path": {"method": "GET", "path": "/v1/path/string/%zz"},
    "cond-bad_typed_path/query_value": {"method": "GET", "path": "/v1/path/int32/x"},
    "cond-invalid_UTF-8_in_path_or_query_string_value": {
        "method": "GET",
        "path": "/v1/query?string_value=%ff",
    },
    "cond-deadline_passed": {
        "method": "GET",
        "path": "/v1/slow?seconds=20",
        "headers": [["Grpc-Timeout", "50m"]],
    },
    "cond-UNAUTHENTICATED": {"method": "GET", "path": "/v1/fail/16?message=m"},
    "cond-request_body_over_limit": {
        "method": "POST",
        "path": "/v1/body/star",
        "body": json.dumps({"stringValue": "x" * 2000}),
    },
    "err-37": {"method": "GET", "path": "/v1/fail/2?message=example%20error"},
    "err-44": {"method": "GET", "path": "/v1/fail/5?message=no%20such%20resource"},
    "err-51": {"method": "GET", "path": "/v1/fail/9?message=failed%20precondition"},
    "err-66": {"method": "POST", "path": "/v1/query"},
}


async def test_conditions_of_a_gateway_have_the_recommended_answer() -> None:
    """Status and code, in one JSON shape."""
    differing = set(differences("error_mapping")) - {"cond-request_body_over_limit"}
    async with front(probe_set(), limits=Limits(max_body_bytes=1000, drain_seconds=0.1)) as running:
        running.backend.behaviours |= probe_behaviours(running.backend)
        for case in shared("error_mapping.json"):
            if case["id"] not in CONDITIONS:
                assert (
                    case["kind"] == "grpc_to_http"
                    or case["id"] in differing
                    or case["id"] == "cond-response_over_limit"
                ), case["id"]
                continue
            answer = await send(running.port, CONDITIONS[case["id"]])
            body = json.loads(answer.body)
            wanted = case.get("recommended", {"http": case.get("http")})
            agrees = answer.status == wanted["http"] and body["code"] == wanted.get("code", body["code"])
            agrees = agrees and (
                case["kind"] != "error_body" or answer.headers["content-type"] == case["content_type"]
            )
            agrees = agrees and ("header" not in wanted or wanted["header"].lower() in answer.headers)
            assert agrees == (case["id"] not in differences("error_mapping")), f"{case['id']} {answer}"


def test_every_difference_has_a_reason() -> None:
    """A key that is written wrong would be a difference without one."""
    named = {
        reason
        for name in ("path_templates", "path_match", "body_mapping", "golden_probes", "error_mapping")
        for reason in differences(name).values()
    }
    assert named <= {*REASONS, OUT_OF_SCOPE}
