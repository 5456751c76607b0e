"""The OpenAPI document says what the transcoder does, of the mesh's contracts and of those made for the tests."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from openapi_spec_validator.schemas import schema_v31

from gateway.openapi.document import OTHER_METHODS, About, Described, describe
from gateway.openapi.operations import Operation
from gateway.openapi.validation import Validator
from gateway.transcoding import template
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.unit.gateway.support import compile_text, echo_set, guest_set

MESH = Path(__file__).parents[3] / "generated" / "vivesphere.binpb"
ABOUT = About("Test", "1")
VERBS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


@pytest.fixture(scope="module", params=["mesh", "echo", "guest"])
def schema(request: pytest.FixtureRequest) -> Schema:
    sets = {"mesh": MESH.read_bytes, "echo": echo_set, "guest": guest_set}
    return Schema(sets[request.param]())


@pytest.fixture(scope="module")
def described(schema: Schema) -> Described:
    return describe(schema, ABOUT)


@pytest.fixture(scope="module")
def echo() -> dict[str, Any]:
    return describe(Schema(echo_set()), ABOUT).json


@pytest.fixture(scope="module")
def mesh() -> dict[str, Any]:
    return describe(Schema(MESH.read_bytes()), ABOUT).json


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            if verb in VERBS:
                yield path, verb, operation
        for verb, operation in item.get(OTHER_METHODS, {}).items():
            yield path, verb, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for below in node.values():
            yield from references(below)
    elif isinstance(node, list):
        for below in node:
            yield from references(below)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_the_document_is_openapi(described: Described) -> None:
    """Whatever reads OpenAPI 3.1 must be able to read it."""
    assert list(jsonschema_rs.validator_for(dict(schema_v31)).iter_errors(described.json)) == []


def test_small_documents_pass_the_whole_validator(echo: dict[str, Any]) -> None:
    """It also reads defaults and parameters; half a minute for the mesh's document is left to the long profile."""
    assert list(OpenAPIV31SpecValidator(echo).iter_errors()) == []


@pytest.mark.long
def test_the_mesh_passes_the_whole_validator(mesh: dict[str, Any]) -> None:
    """What ships is held against the same."""
    assert list(OpenAPIV31SpecValidator(mesh).iter_errors()) == []


def test_every_endpoint_is_there_once(schema: Schema, described: Described) -> None:
    """A method that is not described does not exist for clients; one described twice has two names in their code."""
    served = Counter((one.method.path, one.http_method, one.label) for one in Transcoder(schema).endpoints)
    told = Counter(
        (one.method.path, one.binding.http_method, one.binding.template) for one in described.operations
    )
    assert told == served
    assert len(list(operations(described.json))) == len(described.operations)


def test_operation_ids_are_unique(described: Described) -> None:
    """Generated clients name functions by them."""
    ids = [operation["operationId"] for _, _, operation in operations(described.json)]
    assert len(set(ids)) == len(ids)


def test_paths_and_their_parameters_agree(described: Described) -> None:
    """A path with a hole that no parameter fills cannot be called."""
    for path, verb, operation in operations(described.json):
        told = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        holes = [part.split("}")[0] for part in path.split("{")[1:]]
        assert holes == told, f"{verb} {path}"


def test_no_parameter_is_named_twice(described: Described) -> None:
    """Two values of one name: a client could send only one of them."""
    for path, verb, operation in operations(described.json):
        names = [(one["in"], one["name"]) for one in operation.get("parameters", ())]
        assert len(set(names)) == len(names), f"{verb} {path}"


def test_every_reference_leads_somewhere(described: Described) -> None:
    """A dangling reference breaks every generator."""
    for reference in set(references(described.json)):
        assert resolve(described.json, reference) is not None


def test_no_component_is_left_over(described: Described) -> None:
    """What nothing refers to is noise in generated code."""
    document = described.json
    used = set(references(document))
    for kind in ("schemas", "headers", "responses"):
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, name


def test_methods_without_a_route_are_not_described(schema: Schema, described: Described) -> None:
    """What services say to each other is nobody else's to call."""
    told = {operation["x-grpc-method"] for _, _, operation in operations(described.json)}
    assert told == {path.removeprefix("/") for path, method in schema.methods.items() if method.bindings}


def test_wildcards_become_parameters() -> None:
    """`{name=projects/*/things/**}` has two holes; clients fill them one by one."""
    raw = compile_text(
        'syntax = "proto3"; package t.v1; import "google/api/annotations.proto";\n'
        "message R { string name = 1; R inner = 2; }\n"
        "service S {\n"
        'rpc A(R) returns (R) { option (google.api.http) = { get: "/v1/{name=projects/*/things/**}:look" }; }\n'
        'rpc B(R) returns (R) { option (google.api.http) = { get: "/v1/one/{name}" }; }\n'
        'rpc C(R) returns (R) { option (google.api.http) = { delete: "/v1/one/{inner.name}" }; }\n'
        'rpc D(R) returns (R) { option (google.api.http) = { custom { kind: "FETCH" path: "/v1/*" } }; }\n'
        "}"
    )
    paths = describe(Schema(raw), ABOUT).json["paths"]
    assert set(paths) == {"/v1/projects/{name_1}/things/{name_2}:look", "/v1/one/{name}", "/v1/{wildcard_1}"}
    assert set(paths["/v1/one/{name}"]) == {"get", "delete"}
    assert paths["/v1/projects/{name_1}/things/{name_2}:look"]["get"]["parameters"][1]["x-multi-segment"]
    assert set(paths["/v1/{wildcard_1}"][OTHER_METHODS]) == {"FETCH"}
    assert template.parse("/v1/{name=projects/*/things/**}:look").verb == "look"


def bodies(described: Described) -> Iterator[tuple[Operation, Any]]:
    """Operations with a JSON body, and its example; None where there is none."""
    for one in described.operations:
        if one.body is not None and not one.body.is_file:
            content = one.json["requestBody"]["content"]
            yield one, content.get("application/x-ndjson", content["application/json"]).get("example")


def test_every_request_has_an_example(described: Described) -> None:
    """It is what people copy first."""
    missing = [one.id for one, example in bodies(described) if example is None]
    assert missing == []
    parameters = (
        (path, parameter["name"], "example" in parameter)
        for path, _, operation in operations(described.json)
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "path"
    )
    assert [(path, name) for path, name, told in parameters if not told] == []


def test_examples_are_taken_by_the_transcoder_and_keep_every_rule(
    schema: Schema, described: Described
) -> None:
    """An example that is refused teaches the wrong thing; this one goes through our own binder and the services' own rules."""
    validator = Validator(schema)
    endpoints = {(one.http_method, one.label): one for one in Transcoder(schema).endpoints}
    for one in described.operations:
        if one.body is not None and one.body.is_file:
            continue
        endpoint = endpoints[one.binding.http_method, one.binding.template]
        body = b""
        if one.body is not None:
            content = one.json["requestBody"]["content"]
            body = json.dumps(
                content.get("application/x-ndjson", content["application/json"])["example"]
            ).encode()
        parsed = template.parse(one.binding.template)
        told = {p["name"]: str(p["example"]) for p in one.json.get("parameters", ()) if "example" in p}
        wild = iter(told[parameter.name] for parameter in one.parameters)
        raw = [next(wild) if segment in ("*", "**") else segment for segment in parsed.segments]
        query = [p for p in one.json.get("parameters", ()) if p["in"] == "query" and p.get("required")]
        text = urlencode([(p["name"], p["example"]) for p in query], doseq=True)
        wire = endpoint.bind(parsed.extract(raw), RequestParts(query=text, body=body))
        message = one.method.input.type.from_binary(wire)
        tree = json.loads(message.to_json(registry=schema.registry))
        assert validator.violations(one.method.input, tree) == 0, one.id


def test_examples_keep_their_schemas(described: Described) -> None:
    """Example and schema come from the same contract by different ways; where they disagree one of them is wrong."""
    document = described.json
    told = []
    for one, example in bodies(described):
        content = one.json["requestBody"]["content"]
        told.append((content.get("application/x-ndjson", content["application/json"])["schema"], example))
    for name, example in document["components"]["examples"].items():
        told.append(({"$ref": f"#/components/schemas/{name}"}, example["value"]))
    whole = {"prefixItems": [schema for schema, _ in told], "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole)
    assert [error.message for error in validator.iter_errors([example for _, example in told])] == []
