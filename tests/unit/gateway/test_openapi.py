"""The OpenAPI document says what the transcoder does, of the mesh's contracts and of those made for the tests."""

import json
import shlex
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
from gateway.openapi.reference import curl
from gateway.openapi.references import references
from gateway.openapi.validation import Validator
from gateway.transcoding import template
from gateway.transcoding.binding import RequestParts
from gateway.transcoding.errors import GatewayError
from gateway.transcoding.schema import Schema
from gateway.transcoding.transcoder import Transcoder
from tests.unit.gateway.support import compile_text, echo_set, guest_set
from tools.protoc import compile_image

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


RULES = """
syntax = "proto3"; package t.v1;
import "buf/validate/validate.proto"; import "google/api/annotations.proto"; import "google/protobuf/timestamp.proto";
message R {
  string name = 1 [(buf.validate.field).string = {min_len: 2 max_len: 9 pattern: "^[a-z]+$"}];
  string id = 2 [(buf.validate.field).string.uuid = true];
  string maybe = 3 [(buf.validate.field) = {ignore: IGNORE_IF_ZERO_VALUE string: {email: true}}];
  int32 small = 4 [(buf.validate.field).int32 = {gt: 0 lte: 9}];
  int64 big = 5 [(buf.validate.field).int64 = {gte: 1}];
  repeated string tags = 6 [(buf.validate.field).repeated = {min_items: 1 max_items: 3 unique: true items: {string: {max_len: 4}}}];
  map<string, int32> counts = 7 [(buf.validate.field).map = {max_pairs: 2 keys: {string: {min_len: 1}} values: {int32: {gte: 0}}}];
  string kind = 8 [(buf.validate.field).string = {in: ["a", "b"]}];
  google.protobuf.Timestamp time = 9 [(buf.validate.field) = {required: true timestamp: {gt: {seconds: 0}}}];
  string raw = 10 [(buf.validate.field).string.max_bytes = 12];
  optional string note = 11 [(buf.validate.field).string.min_len = 1];
  R inner = 12;
  oneof choice { option (buf.validate.oneof).required = true; string left = 13; string right = 14; }
}
message A { repeated R list = 1; }
service S { rpc Make(R) returns (A) { option (google.api.http) = { post: "/v1/r" body: "*" }; } }
"""


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("ruled")
    (root / "ruled.proto").write_text(RULES, encoding="utf-8")
    document: dict[str, Any] = describe(Schema(compile_image(root)), ABOUT).json
    return document


def test_rules_are_keywords(ruled: dict[str, Any]) -> None:
    """A form or a generated client can check what the service will check."""
    fields = ruled["components"]["schemas"]["RInput"]["properties"]
    assert fields["name"] == {"type": "string", "minLength": 2, "maxLength": 9, "pattern": "^[a-z]+$"}
    assert fields["id"] == {"type": "string", "format": "uuid"}
    assert fields["small"] == {"type": "integer", "format": "int32", "exclusiveMinimum": 0, "maximum": 9}
    assert fields["big"]["x-minimum"] == "1"
    assert fields["tags"] == {
        "type": "array",
        "items": {"type": "string", "maxLength": 4},
        "minItems": 1,
        "maxItems": 3,
        "uniqueItems": True,
    }
    assert fields["counts"]["propertyNames"] == {"minLength": 1}
    assert fields["counts"]["additionalProperties"]["minimum"] == 0
    assert fields["kind"]["enum"] == ["a", "b"]
    assert fields["time"]["x-exclusive-minimum"] == "1970-01-01T00:00:00Z"
    assert (fields["raw"]["maxLength"], fields["raw"]["x-max-bytes"]) == (12, 12)


def test_required_is_what_is_refused_when_left_out(ruled: dict[str, Any]) -> None:
    """A rule that the empty value breaks requires the field, unless it passes over empty values or the field has presence."""
    schema = ruled["components"]["schemas"]["RInput"]
    assert schema["required"] == ["name", "id", "small", "big", "tags", "kind", "time"]
    assert schema["anyOf"] == [{"required": ["left"]}, {"required": ["right"]}]
    assert schema["not"] == {"anyOf": [{"required": ["left", "right"]}]}
    assert schema["additionalProperties"] is False


def test_answers_are_not_held_to_rules(ruled: dict[str, Any]) -> None:
    """ProtoJSON leaves out what is empty, and what was stored before a rule came need not keep it."""
    schema = ruled["components"]["schemas"]["R"]
    assert "required" not in schema
    assert "additionalProperties" not in schema
    assert schema["properties"]["name"] == {"type": "string"}


def test_streams_are_described_item_by_item(echo: dict[str, Any]) -> None:
    """One plain object would be a wrong contract: what comes are lines, events or one array."""
    content = echo["paths"]["/api/v1/count/{after}"]["get"]["responses"]["200"]["content"]
    thing = {"$ref": "#/components/schemas/Thing"}
    lines = content["application/x-ndjson"]["schema"]["oneOf"]
    assert lines[0]["properties"] == {"result": thing}
    assert lines[1]["properties"] == {"error": {"$ref": "#/components/schemas/Status"}}
    assert content["text/event-stream"]["schema"]["properties"]["data"]["contentSchema"] == thing
    assert content["application/json"]["schema"]["items"]["anyOf"][0] == thing
    sent = echo["paths"]["/api/v1/collect"]["post"]["requestBody"]["content"]
    assert set(sent) == {"application/x-ndjson", "application/json"}


def test_response_body_and_files_are_what_comes(echo: dict[str, Any]) -> None:
    """The whole message, or JSON for a file, would be wrong contracts too."""
    paths = echo["paths"]
    shown = paths["/api/v1/show/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert shown == {"$ref": "#/components/schemas/Thing"}
    text = paths["/api/v1/text/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert text == {"type": "string"}
    assert set(paths["/api/v1/download/{id}"]["get"]["responses"]["200"]["content"]) == {
        "application/octet-stream"
    }
    form = paths["/api/v1/files/{folder}"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(form["properties"]) == ["note", "sizeBytes", "requestId", "file"]


def test_a_message_within_itself_ends_with_a_note(echo: dict[str, Any]) -> None:
    """Others run out of memory here, or write 200 MB."""
    told = echo["paths"]["/api/v1/things"]["get"]["parameters"]
    below = {one["name"]: one.get("description", "") for one in told if one["name"].startswith("sub.")}
    assert set(below) == {"sub.text", "sub.number", "sub.tags"}
    assert all("to any depth" in text for text in below.values())
    labels = next(one for one in told if one["name"] == "labels")
    assert (labels["style"], labels["schema"]["additionalProperties"]) == ("deepObject", {"type": "string"})


def test_every_listed_query_parameter_is_taken(schema: Schema, described: Described) -> None:
    """And under that name: a parameter that the gateway refuses has no place in the document."""
    endpoints = {(one.http_method, one.label): one for one in Transcoder(schema).endpoints}
    for one in described.operations:
        endpoint = endpoints[one.binding.http_method, one.binding.template]
        wild = [str(p.get("example", "1")) for p in one.json.get("parameters", ()) if p["in"] == "path"]
        for parameter in one.json.get("parameters", ()):
            if parameter["in"] != "query":
                continue
            name = parameter["name"] + ("[a]" if parameter.get("style") == "deepObject" else "")
            with pytest.raises(GatewayError) as caught:
                endpoint.bind(wild, RequestParts(query=f"{name}=1&no.such=1"))
            assert [v.field for v in caught.value.violations] == ["no.such"], f"{one.id} {name}"


def test_access_is_told(mesh: dict[str, Any]) -> None:
    """Who may call, and with what, is part of the contract."""
    paths = mesh["paths"]
    assert paths["/api/v1/auth/login"]["post"]["security"] == []
    assert paths["/api/v1/auth/token:refresh"]["post"]["security"] == [{}, {"vivesphere-refresh": []}]
    assert paths["/api/v1/auth/password:change"]["post"]["security"] == [{"accessToken": []}]
    create = paths["/api/v1/bots/{botId}/posts"]["post"]
    assert create["security"] == [{"accessToken": []}, {"apiKey": []}]
    assert (create["x-permission"], create["x-bot-field"], create["x-audited"]) == (
        "posts.write",
        "bot_id",
        True,
    )
    assert "BOT_NOT_FOUND" in create["responses"]["404"]["description"]
    for _, _, operation in operations(mesh):
        secured = any(operation["security"]) and {} not in operation["security"]
        assert secured == ("401" in operation["responses"] and "403" in operation["responses"]) or not secured


def test_what_the_server_writes_and_what_is_secret_is_marked(mesh: dict[str, Any]) -> None:
    """A form shows no field for what is ignored, and hides what somebody types as a secret."""
    schemas = mesh["components"]["schemas"]
    assert schemas["PostInput"]["properties"]["createTime"]["readOnly"] is True
    assert "readOnly" not in schemas["PostInput"]["properties"]["text"]
    password = schemas["LoginRequest"]["properties"]["password"]
    assert (password["writeOnly"], password["format"]) == (True, "password")
    assert "required" not in schemas["RefreshTokenRequest"], "a browser's cookie fills it"


def test_only_what_changes_something_takes_an_idempotency_key(mesh: dict[str, Any]) -> None:
    """A search for a request's id has a field of that name too, and is no call to be made once."""
    told = {
        operation["operationId"]: any(p["name"] == "Idempotency-Key" for p in operation.get("parameters", ()))
        for _, _, operation in operations(mesh)
    }
    assert told["PostService_CreatePost"]
    assert not told["LogService_TailLogs"]
    assert not told["LogService_QueryLogs"]


def test_streams_that_resume_say_so(mesh: dict[str, Any]) -> None:
    """An EventSource goes on behind the last event it has seen, by a header that scripts cannot set."""
    watch = mesh["paths"]["/api/v1/events:watch"]["get"]
    assert [p["name"] for p in watch["parameters"] if p["in"] == "header"] == ["Last-Event-ID"]
    export = mesh["paths"]["/api/v1/logs:export"]["get"]
    assert "Last-Event-ID" not in [p["name"] for p in export["parameters"]]
    assert set(export["responses"]["200"]["content"]) == {"application/x-ndjson", "text/csv"}


def test_commands_say_what_the_examples_say(described: Described) -> None:
    """What people paste goes to the route it stands at, with the example as its body."""
    for one in described.operations:
        words = shlex.split(curl.command(one))
        assert words[0] == "curl"
        target = next(word for word in words if word.startswith("$URL"))
        assert "{" not in target, one.id
        if "--json" in words:
            told = one.json["requestBody"]["content"]["application/json"]["example"]
            assert json.loads(words[words.index("--json") + 1]) == told
        assert ("Authorization: Bearer $TOKEN" in words) == one.access.signed_in


def test_messages_that_hold_each_other_have_an_end() -> None:
    """Ten types that hold one another have millions of ways through them; neither parameters nor examples may go them all."""
    names = [f"M{number}" for number in range(10)]
    messages = "".join(
        f"message {name} {{ string text = 99; "
        + "".join(f"{other} {other.lower()} = {at};" for at, other in enumerate(names, start=1))
        + "}\n"
        for name in names
    )
    raw = compile_text(
        f'syntax = "proto3"; package t.v1; import "google/api/annotations.proto";\n{messages}'
        'service S { rpc Look(M0) returns (M1) { option (google.api.http) = { get: "/v1/look" }; }\n'
        'rpc Put(M0) returns (M1) { option (google.api.http) = { post: "/v1/put" body: "*" }; } }'
    )
    document = describe(Schema(raw), ABOUT).json
    told = document["paths"]["/v1/look"]["get"]["parameters"]
    assert len(told) == 300
    assert "not listed" in told[-1]["description"]
    assert len(json.dumps(document)) < 1_000_000
