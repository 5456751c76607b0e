"""Replays the shared transcoding vectors that need no server, where they are present (VIVESPHERE_TRANSCODING_VECTORS names the folder).

What other implementations assert about templates, routing, bodies, answers, errors and headers. Every difference of ours is in
`tests.vectors.decisions` with its reason, and nothing else may differ.
"""

import json
from typing import Any

import pytest
from google.protobuf import text_format

from gateway.framing import Lines
from gateway.metadata import RequestHeaders, response_headers
from gateway.transcoding import errors, urls
from gateway.transcoding.binding import RequestBinder, RequestParts
from gateway.transcoding.codec import JsonStyle, JsonSyntaxError, ProtobufPyCodec, parse_json
from gateway.transcoding.errors import GatewayError
from gateway.transcoding.router import NoRouteError, Route, RouteConflictError, Router, WrongMethodError
from gateway.transcoding.schema import HttpBinding, Method, Schema, SchemaError
from gateway.transcoding.template import TemplateError, parse
from tests.integration.gateway.backend import ScriptedBackend
from tests.integration.gateway.probing import payload_of
from tests.unit.gateway.support import compile_set
from tests.vectors.decisions import differences
from tests.vectors.reading import SHARED, shared

pytestmark = pytest.mark.skipif(SHARED is None, reason="VIVESPHERE_TRANSCODING_VECTORS names no folder")
KEPT = (urls.RESERVED, urls.SLASH, urls.NOTHING)


def test_templates_are_judged_as_recommended() -> None:
    """150 templates from the suites of four implementations."""
    differing = set()
    for case in shared("path_templates.json"):
        try:
            parsed = parse(case["template"])
        except TemplateError:
            agrees = not case["recommended_valid"]
        else:
            same = case.get("cpp_segments") in (None, list(parsed.segments))
            agrees = case["recommended_valid"] and same
        if not agrees:
            differing.add(case["id"])
    assert differing == set(differences("path_templates"))


def routed(case: Any) -> tuple[int | None, list[list[str]]]:
    """The index of the route that a path finds, and its variables."""
    router: Router[int] = Router()
    for index, route in enumerate(case["routes"]):
        try:
            router.add(Route(route["method"], parse(route["template"]), str(index), index))
        except TemplateError:
            continue  # a contract with it is refused; the other routes are still tried
        except RouteConflictError:
            return None, []
    try:
        path, _, _ = case["request"]["path"].partition("?")
        found, segments = router.match(case["request"]["method"], path)
        kept = KEPT[case["options"].get("url_unescape_spec", 0)]
        values = found.template.extract(segments, kept)
    except (NoRouteError, WrongMethodError, ValueError):
        return None, []
    return found.target, [
        [one.field_path, value] for one, value in zip(found.template.variables, values, strict=True)
    ]


def test_paths_find_their_routes() -> None:
    """152 requests on the route tables of three suites: which route, and what its variables hold. Query parameters are tested apart."""
    differing = set()
    for case in shared("path_match.json"):
        match, bindings = routed(case)
        wanted = case["expect"].get("bindings")
        wanted = bindings if wanted is None else wanted
        if match is not None:
            names = {one.field_path for one in parse(case["routes"][match]["template"]).variables}
            wanted = [one for one in wanted if one[0] in names]
        if match != case["expect"]["match"] or sorted(bindings) != sorted(wanted):
            differing.add(case["id"])
    assert differing == set(differences("path_match"))


class Library:
    """The messages that the cases speak of, bound without a server."""

    def __init__(self) -> None:
        assert SHARED is not None
        raw = compile_set(SHARED / "protos" / "library", "library.proto", "google/protobuf/struct.proto")
        self.schema = Schema(raw)
        self.backend = ScriptedBackend(raw)
        self.codec = ProtobufPyCodec(self.schema.registry)

    def bind(self, case: Any, body: bytes) -> Any:
        """The message that a body and path variables make."""
        desc: Any = self.schema.registry.message(case["message"])
        method = Method("/library.L/M", "library.L", "M", "unary", desc, desc, False, ())
        template = "/x" + "".join(f"/{{{name}}}" for name, _ in case["bindings"])
        binder = RequestBinder(
            method,
            HttpBinding("POST", template, case["body_field"], ""),
            parse(template),
            self.codec,
            frozenset(),
        )
        return self.backend.type(case["message"]).FromString(
            binder.bind([value for _, value in case["bindings"]], RequestParts(body=body))
        )

    def read(self, name: str, text: str) -> Any:
        return text_format.Parse(text, self.backend.type(name)(), descriptor_pool=self.backend.pool)

    def items(self, case: Any) -> list[Any]:
        """The messages of a case; a client stream is one array, each element bound as a body."""
        body = payload_of(case["body"])
        if not case["client_streaming"]:
            return [self.bind(case, body)]
        items = parse_json(body)
        if not isinstance(items, list):
            raise JsonSyntaxError("expected an array")
        return [
            self.bind(case if index == 0 else {**case, "bindings": []}, json.dumps(item).encode())
            for index, item in enumerate(items)
        ]


def bodies(case: Any) -> list[Any]:
    """A case, once for each size of body that it asks for."""
    if "body_build" not in case:
        return [case]
    build = case["body_build"]
    made = []
    for size in build["sizes"]:
        text = ('"0123456789abcdefgh' * (size // 19 + 1))[:size]
        title = json.dumps(text)[1:-1]
        made.append({**case, "body": build["template"].replace("<S>", title), "expect": {"title": text}})
    return made


def test_bodies_and_variables_make_the_message() -> None:
    """57 bodies with bindings, as the C++ library behind Envoy asserts them."""
    library, differing = Library(), set()
    for case in (made for one in shared("body_mapping.json") for made in bodies(one)):
        expect = case["expect"]
        try:
            found = library.items(case)
        except (GatewayError, JsonSyntaxError):
            agrees = "error" in expect
        except SchemaError:
            agrees = False
        else:
            texts = expect.get("messages_text")
            agrees = (
                found[0].book.title == expect["title"]
                if "title" in expect
                else texts is not None and found == [library.read(case["message"], text) for text in texts]
            )
        if not agrees:
            differing.add(case["id"])
    assert differing == set(differences("body_mapping"))


def test_messages_become_the_answer() -> None:
    """15 answers; a stream is judged by its items, its framing has tests of its own."""
    library, differing = Library(), set()
    for case in shared("response_mapping.json"):
        expect, found = case["expect"], None
        if "message" in case:
            style = JsonStyle(defaults=bool(case["options"].get("always_print_primitive_fields")))
            desc: Any = library.schema.registry.message(case["message"])
            codec = ProtobufPyCodec(library.schema.registry, style).message(desc)
            found = [
                json.loads(codec.to_json(library.read(case["message"], text).SerializeToString()))
                for text in case["messages_text"]
            ]
        if "json" in expect:
            agrees = found == (expect["json"] if case["server_streaming"] else [expect["json"]])
        elif case.get("options", {}).get("stream") == "sse":
            agrees = (
                "".join(f"data: {json.dumps(one, separators=(',', ':'))}\n\n" for one in found or [])
                == expect["raw"]
            )
        elif "final_status" in case and "raw" in expect:
            status = errors.StatusRenderer(library.schema.details).render(
                case["final_status"]["code"], case["final_status"]["message"], None
            )
            agrees = (
                status.http_status == expect["status"]
                and Lines().failure(status.body).decode() == expect["raw"]
            )
        else:
            agrees = False
        if not agrees:
            differing.add(case["id"])
    assert differing == set(differences("response_mapping"))


def test_codes_become_statuses() -> None:
    """The table of google.rpc.Code, as four implementations have it; the cases of conditions are asked of a running gateway."""
    found = {
        case["id"]
        for case in shared("error_mapping.json")
        if case["kind"] == "grpc_to_http" and errors.HTTP_STATUS[case["code"]] == case["http"]
    }
    assert found == {case["id"] for case in shared("error_mapping.json") if case["kind"] == "grpc_to_http"}
    assert found


def timeout_of(headers: RequestHeaders) -> float | None:
    """The deadline that headers ask for; None when it is refused."""
    try:
        return headers.timeout()
    except GatewayError:
        return None


def test_headers_become_metadata_and_back() -> None:
    """25 headers as grpc-gateway treats them; ours pass a short list and name it plainly."""
    differing = set()
    for case in shared("metadata_headers.json"):
        if case["direction"] == "response":
            sent = dict(response_headers(case["header_md"].items(), case["trailer_md"].items()))
            wanted = {
                name.lower(): value
                for name, value in {**case["expect_headers"], **case["expect_trailers"]}.items()
                if name.startswith("Grpc-")
            }
            agrees = {name.decode(): value.decode() for name, value in sent.items()} == wanted
        else:
            given = case.get("http_headers") or [[case["header_name"], "x"]]
            headers = RequestHeaders((name.lower().encode(), value.encode()) for name, value in given)
            if "expect_timeout_seconds" in case:
                agrees = timeout_of(headers) == pytest.approx(case["expect_timeout_seconds"])
            elif "header_name" in case:
                made = {name for name, value in headers.metadata("192.0.2.1") if value == "x"}
                agrees = made == ({case["expect_metadata_key"]} - {None})
            else:
                agrees = all(name in dict(headers.metadata("192.0.2.1")) for name in case["expect_metadata"])
        if not agrees:
            differing.add(case["id"])
    assert differing == set(differences("metadata_headers"))
